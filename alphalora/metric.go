package alphalora

import "math"

// Metric is a number of one matrix, of which a layer has the mean, and by which
// experts can be allocated. To add one: a function, a line in [Metrics].
type Metric struct {
	Name string // its key in JSON
	Doc  string // what it is, one line
	// of measures a spectrum (ascending, at least one eigenvalue); fit is nil where
	// the estimator found no tail.
	of func(s Spectrum, fit *Fit) Value
}

// Metrics is the table of all metrics, in the order of tables and files; the first is
// the default.
func Metrics() []Metric {
	return []Metric{
		{"alpha", "exponent of the power law fitted to the tail", alphaMetric},
		{"stable_rank", "squared Frobenius norm over the largest eigenvalue of WᵀW", stableRank},
		{"spectral_norm", "largest eigenvalue of WᵀW", spectralNorm},
		{"frobenius_norm_squared", "sum of the eigenvalues of WᵀW", frobeniusNormSquared},
		{"alpha_hat", "alpha · log10 of the largest eigenvalue", alphaHat},
	}
}

// MetricNamed returns the metric of that name.
func MetricNamed(name string) (Metric, error) {
	return named("metric", name, Metrics(), func(m Metric) string { return m.Name })
}

func alphaMetric(_ Spectrum, fit *Fit) Value {
	if fit == nil {
		return None()
	}
	return Value(fit.Alpha)
}

// alphaHat is the weighted alpha of Martin, Peng and Mahoney (Nature Communications 2021).
func alphaHat(s Spectrum, fit *Fit) Value {
	if fit == nil {
		return None()
	}
	return Value(fit.Alpha * math.Log10(s.Lambda[len(s.Lambda)-1]))
}

func spectralNorm(s Spectrum, _ *Fit) Value {
	return Value(s.Lambda[len(s.Lambda)-1])
}

func frobeniusNormSquared(s Spectrum, _ *Fit) Value {
	sum := 0.0
	for _, lambda := range s.Lambda {
		sum += lambda
	}
	return Value(sum)
}

func stableRank(s Spectrum, fit *Fit) Value {
	if s.Rank == 0 {
		return None()
	}
	return frobeniusNormSquared(s, fit) / spectralNorm(s, fit)
}
