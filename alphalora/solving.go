package alphalora

import (
	"fmt"
	"math"
	"slices"
	"time"

	"alphalora/alphalora/symeig"
)

// solving is the work on one matrix.
type solving struct {
	w      symeig.Matrix
	id     []byte // its digest
	opts   Options
	solved bool // whether anything had to be, and was not in the cache
}

// singleError is the c of the measured rule that an eigenvalue λ of single precision is off
// by c·√(λ·λn) at most, as graded Gram matrices behave (docs/spectra.md has the figures;
// what can be proved is c·λn). Far below λn, [Eigenvalues] silences λ before that.
const singleError = 1e-6

// singleTolerance is the relative error of alpha up to which single precision is enough.
const singleTolerance = 3e-4

// measure computes in single precision where that is asked for, and again in double
// precision where the fit shows that it was not enough.
func (s *solving) measure() (Measurement, error) {
	f, err := s.fitted(s.opts.Begins())
	if err == nil && f.tail.Precision == Single && (f.reason != nil || !enough(f.tail, f.fit)) {
		f, err = s.fitted(Double)
	}
	if err != nil {
		return Measurement{}, err
	}
	return s.measured(f), nil
}

// Begins is the precision that the analysis begins with: the one asked for, or double where
// the estimator needs it.
func (o Options) Begins() Precision {
	if o.Estimator.Selects {
		return Double
	}
	return o.Precision
}

// enough tells whether the fit to a spectrum of single precision can be relied on. With
// a = alpha-1, the derivative of alpha by ln xmin is a².
func enough(s Spectrum, fit Fit) bool {
	a, largest := fit.Alpha-1, s.Lambda[len(s.Lambda)-1]
	return a*a*singleError*math.Sqrt(largest/fit.XMin) <= singleTolerance*fit.Alpha
}

// fitting is the spectrum of a whole matrix, the one that was fitted (another where the
// estimator has windows), and the fit, or the reason why there is none.
type fitting struct {
	whole, tail Spectrum
	fit         Fit
	reason      error
}

func (s *solving) fitted(p Precision) (f fitting, err error) {
	if f.whole, err = s.spectrum("", []symeig.Matrix{s.w}, p); err != nil {
		return f, err
	}
	f.tail = f.whole
	if s.opts.Estimator.windows != nil {
		parts := s.opts.Estimator.windows(s.w)
		if f.tail, err = s.spectrum(s.opts.Estimator.Name, parts, p); err != nil {
			return f, err
		}
	}
	begun := time.Now()
	f.fit, f.reason = s.opts.Estimator.Fit(f.tail)
	s.opts.Phases.add(&s.opts.Phases.Fit, begun)
	return f, nil
}

// spectrum returns the eigenvalues of all parts in one list, in the precision p or a better
// one: from the cache if they are there, solved in double precision where single leaves a
// rank in doubt. part names them.
func (s *solving) spectrum(part string, parts []symeig.Matrix, p Precision) (Spectrum, error) {
	count := 0
	for _, m := range parts {
		count += m.Side()
	}
	for _, kept := range slices.Compact([]Precision{p, Double}) {
		if lambda, ok := s.opts.Cache.get(cacheKey(s.id, kept, part), count); ok {
			s.opts.Phases.cached()
			return spectrumOf(lambda, kept), nil
		}
	}
	s.solved = true
	var lambda []float64
	for _, m := range parts {
		one, err := timedSpectrum(m, s.opts.Solver, p, s.opts.Phases)
		if err != nil {
			return Spectrum{}, err
		}
		if one.doubtful {
			return s.spectrum(part, parts, Double)
		}
		lambda = append(lambda, one.Lambda...)
	}
	slices.Sort(lambda)
	s.opts.Cache.put(cacheKey(s.id, p, part), lambda)
	return spectrumOf(lambda, p), nil
}

// spectrumOf counts the rank of eigenvalues of which those below the noise are zero.
func spectrumOf(lambda []float64, p Precision) Spectrum {
	zeros, _ := slices.BinarySearchFunc(lambda, 0.0, func(x, _ float64) int {
		if x > 0 {
			return 1
		}
		return -1
	})
	return Spectrum{Lambda: lambda, Rank: len(lambda) - zeros, Precision: p}
}

func (s *solving) measured(f fitting) Measurement {
	out := Measurement{
		Precision: min(f.whole.Precision, f.tail.Precision), KSDistance: None(), XMin: None(),
		Metrics: map[string]Value{}, Spectrum: f.whole,
	}
	subject := Subject{Spectrum: f.whole, Rows: s.w.Rows, Cols: s.w.Cols}
	switch rank, side := f.whole.Rank, len(f.whole.Lambda); {
	case f.reason != nil:
		out.Warning = fmt.Sprintf("no alpha, left out of the layer's mean: %v", f.reason)
	default:
		subject.Fit = &f.fit
		out.Tail, out.KSDistance, out.XMin = f.fit.Tail, Value(f.fit.Distance), Value(f.fit.XMin)
		if rank < side && f.whole.Precision == Double {
			out.Warning = fmt.Sprintf("rank %d of %d; the tail lies within it", rank, side)
		}
	}
	for _, metric := range Metrics() {
		out.Metrics[metric.Name] = metric.of(subject)
	}
	return out
}
