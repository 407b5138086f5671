package alphalora

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"alphalora/alphalora/symeig"
	"alphalora/internal/fault"
)

// MinEigenvalues is the smallest spectrum to which a tail is fitted.
const MinEigenvalues = 4

// flatTail is the mean ln(λ/xmin) up to which a tail counts as having no spread
// (an alpha above a million).
const flatTail = 1e-6

// Fit is a power law fitted to the tail of a spectrum.
type Fit struct {
	Alpha    float64 // the exponent, above 1
	XMin     float64 // the eigenvalue at which the tail begins
	Distance float64 // Kolmogorov-Smirnov distance between the tail and the fit
	Tail     int     // number of eigenvalues in the tail
}

// Estimator fits a power law to the tail of a spectrum. To add one: a file with its
// function, a line in [Estimators].
type Estimator struct {
	Name string
	Doc  string // what it is, one line
	// Selects says that it picks xmin by comparing many, so that a small error can move
	// it far: its spectra are always computed in double precision.
	Selects bool
	// windows, if not nil, cuts the matrix into parts whose eigenvalues are fitted
	// together, in place of those of the whole.
	windows func(m symeig.Matrix) []symeig.Matrix
	// fit gets eigenvalues that are ascending, positive in the last s.Rank places
	// and at least MinEigenvalues in number. An error is the reason why there is no fit.
	fit func(s Spectrum) (Fit, error)
}

// Estimators is the table of all estimators; the first is the default.
func Estimators() []Estimator {
	return []Estimator{
		{Name: "hill", Doc: "the paper's: the tail is the upper half of the spectrum", fit: fitHill},
		{Name: "peak", Doc: "xmin around the peak of the histogram of log10 λ, by the Kolmogorov-Smirnov distance", Selects: true, fit: fitPeak},
		{Name: "released-peak", Doc: "peak as the released code has it, with the slip in its lower bound", Selects: true, fit: fitReleasedPeak},
		{Name: "ks", Doc: "xmin by the Kolmogorov-Smirnov distance over the whole spectrum", Selects: true, fit: fitKS},
		{Name: "farms", Doc: "hill over the eigenvalues of square windows of one size, against the bias of the aspect ratio", windows: farmsWindows, fit: fitHill},
	}
}

// EstimatorNamed returns the estimator of that name.
func EstimatorNamed(name string) (Estimator, error) {
	return named("estimator", name, Estimators(), func(e Estimator) string { return e.Name })
}

// Fit fits the tail of s. The error says why a spectrum has none (see the package comment on degenerate spectra).
func (e Estimator) Fit(s Spectrum) (Fit, error) {
	if len(s.Lambda) < MinEigenvalues {
		return Fit{}, fmt.Errorf("%d eigenvalues are too few for a tail (at least %d)", len(s.Lambda), MinEigenvalues)
	}
	if s.Rank == 0 {
		return Fit{}, fmt.Errorf("a zero matrix has no tail")
	}
	fit, err := e.fit(s)
	if err != nil {
		return Fit{}, err
	}
	if fit.Alpha <= 1 || math.IsInf(fit.Alpha, 0) || math.IsNaN(fit.Alpha) {
		return Fit{}, fmt.Errorf("the tail gives an alpha of %v, which is no power law", fit.Alpha)
	}
	if n := different(s.Lambda[len(s.Lambda)-fit.Tail:]); n < min(fit.Tail, MinEigenvalues) {
		return Fit{}, fmt.Errorf("the tail of %d eigenvalues has only %d different ones", fit.Tail, n)
	}
	return fit, nil
}

// sameWithin is the relative distance up to which eigenvalues count as one, repeated: what
// the rounding of single precision can make of equals.
const sameWithin = 1e-5

// different counts the different ones of ascending and positive values.
func different(values []float64) int {
	count, last := 0, 0.0
	for _, v := range values {
		if v > last*(1+sameWithin) {
			count++
			last = v
		}
	}
	return count
}

// tails holds what the Hill estimate of every tail of one spectrum needs. Only
// positive eigenvalues are in it.
type tails struct {
	lambda []float64 // ascending
	log    []float64 // ln λ
	suffix []float64 // suffix[i] = Σ_{j≥i} ln λ_j
}

func newTails(s Spectrum) tails {
	lambda := s.Lambda[len(s.Lambda)-s.Rank:]
	n := len(lambda)
	t := tails{lambda: lambda, log: make([]float64, n), suffix: make([]float64, n+1)}
	for i := n - 1; i >= 0; i-- {
		t.log[i] = math.Log(lambda[i])
		t.suffix[i] = t.suffix[i+1] + t.log[i]
	}
	return t
}

// alpha is the Hill estimate of the tail from index i; false where it has no spread.
func (t tails) alpha(i int) (float64, bool) {
	k := float64(len(t.lambda) - i)
	spread := t.suffix[i]/k - t.log[i]
	return 1 + 1/spread, spread > flatTail
}

// distance is the Kolmogorov-Smirnov distance of the tail from index i, or the first
// value found that is not below bound: enough to rule the tail out.
func (t tails) distance(i int, alpha, bound float64) float64 {
	k := float64(len(t.lambda) - i)
	worst := 0.0
	for j := i; j < len(t.lambda) && worst < bound; j++ {
		fitted := 1 - math.Exp((1-alpha)*(t.log[j]-t.log[i]))
		worst = max(worst, math.Abs(fitted-float64(j-i)/k))
	}
	return worst
}

// closest returns, of the tails that begin at an eigenvalue from lowest to highest,
// the one nearest to its power law (the lowest xmin of equals). The largest
// eigenvalue alone is no tail.
func (t tails) closest(lowest, highest float64) (Fit, error) {
	best := Fit{Distance: math.Inf(1)}
	for i, xmin := range t.lambda[:len(t.lambda)-1] {
		if xmin < lowest {
			continue
		}
		if xmin > highest {
			break
		}
		alpha, ok := t.alpha(i)
		if !ok {
			continue
		}
		if d := t.distance(i, alpha, best.Distance); d < best.Distance {
			best = Fit{Alpha: alpha, XMin: xmin, Distance: d, Tail: len(t.lambda) - i}
		}
	}
	if best.Tail == 0 {
		return Fit{}, fmt.Errorf("no tail between xmin %.3g and %.3g has any spread (rank %d)", lowest, highest, len(t.lambda))
	}
	return best, nil
}

// named finds one entry of a table; the error lists the names there are.
func named[T any](kind, name string, table []T, nameOf func(T) string) (T, error) {
	if i := slices.IndexFunc(table, func(t T) bool { return nameOf(t) == name }); i >= 0 {
		return table[i], nil
	}
	names := make([]string, len(table))
	for i, t := range table {
		names[i] = nameOf(t)
	}
	var none T
	remedy := "use one of " + strings.Join(names, ", ")
	if meant := fault.Nearest(name, names); meant != "" {
		remedy = "did you mean " + meant + "? " + remedy
	}
	return none, fault.Input(fmt.Sprintf("%s %q", kind, name), remedy, "unknown %s", kind)
}
