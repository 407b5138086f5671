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
	w    symeig.Matrix
	id   []byte // its digest
	opts Options
}

func newSolving(w symeig.Matrix, id []byte, opts Options) solving { return solving{w, id, opts} }

// singleError is the c of the measured rule that an eigenvalue λ of single precision is off
// by c·√(λ·λn) at most, as graded Gram matrices behave (docs/spectra.md has the figures;
// what can be proved is c·λn). Far below λn, [Eigenvalues] silences λ before that.
const singleError = 1e-6

// singleTolerance is the relative error of alpha up to which single precision is enough.
const singleTolerance = 3e-4

// measure computes in single precision where that is asked for, and again in double
// precision where the fit shows that it was not enough.
func (s solving) measure() (Measurement, error) {
	p := s.opts.Precision
	if s.opts.Estimator.Selects {
		p = Double
	}
	for {
		spectrum, fit, reason, err := s.fitted(p)
		if err != nil {
			return Measurement{}, err
		}
		if p == Single && (reason != nil || !enough(spectrum, fit)) {
			p = Double
			continue
		}
		return s.measured(spectrum, fit, reason), nil
	}
}

// enough tells whether the fit to a spectrum of single precision can be relied on. With
// a = alpha-1, the derivative of alpha by ln xmin is a².
func enough(s Spectrum, fit Fit) bool {
	a, largest := fit.Alpha-1, s.Lambda[len(s.Lambda)-1]
	return a*a*singleError*math.Sqrt(largest/fit.XMin) <= singleTolerance*fit.Alpha
}

// fitted returns the spectrum of the whole matrix and the estimator's fit, or the reason
// why there is none.
func (s solving) fitted(p Precision) (Spectrum, Fit, error, error) {
	whole, err := s.spectrum("", []symeig.Matrix{s.w}, p)
	if err != nil {
		return Spectrum{}, Fit{}, nil, err
	}
	tail := whole
	if s.opts.Estimator.windows != nil {
		parts := s.opts.Estimator.windows(s.w)
		if tail, err = s.spectrum(s.opts.Estimator.Name, parts, p); err != nil {
			return Spectrum{}, Fit{}, nil, err
		}
	}
	begun := time.Now()
	fit, reason := s.opts.Estimator.Fit(tail)
	s.opts.Phases.add(&s.opts.Phases.Fit, begun)
	return whole, fit, reason, nil
}

// spectrum returns the eigenvalues of all parts in one list, from the cache if they are
// there. part names them.
func (s solving) spectrum(part string, parts []symeig.Matrix, p Precision) (Spectrum, error) {
	count := 0
	for _, m := range parts {
		count += m.Side()
	}
	key := cacheKey(s.id, p, part)
	if lambda, ok := s.opts.Cache.get(key, count); ok {
		s.opts.Phases.cached()
		return spectrumOf(lambda, p), nil
	}
	var lambda []float64
	for _, m := range parts {
		one, err := timedSpectrum(m, s.opts.Solver, p, s.opts.Phases)
		if err != nil {
			return Spectrum{}, err
		}
		lambda = append(lambda, one.Lambda...)
	}
	slices.Sort(lambda)
	s.opts.Cache.put(key, lambda)
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

func (s solving) measured(spectrum Spectrum, fit Fit, reason error) Measurement {
	out := Measurement{
		Precision: spectrum.Precision, KSDistance: None(), XMin: None(),
		Metrics: map[string]Value{}, Spectrum: spectrum,
	}
	var tail *Fit
	switch {
	case reason != nil:
		out.Warning = fmt.Sprintf("no alpha, left out of the layer's mean: %v", reason)
	default:
		tail = &fit
		out.Tail, out.KSDistance, out.XMin = fit.Tail, Value(fit.Distance), Value(fit.XMin)
		if spectrum.Rank < len(spectrum.Lambda) && spectrum.Precision == Double {
			out.Warning = fmt.Sprintf("rank %d of %d; the tail lies within it", spectrum.Rank, len(spectrum.Lambda))
		}
	}
	subject := Subject{Spectrum: spectrum, Fit: tail, Rows: s.w.Rows, Cols: s.w.Cols}
	for _, metric := range Metrics() {
		out.Metrics[metric.Name] = metric.of(subject)
	}
	return out
}
