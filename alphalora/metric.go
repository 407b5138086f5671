package alphalora

import "math"

// Metric is a number of one matrix, of which a layer has the mean, and by which
// experts can be allocated. To add one: a function, a line in [Metrics].
type Metric struct {
	Name string // its key in JSON
	Doc  string // what it is, one line
	of   func(s Subject) Value
}

// Subject is what a metric measures: the spectrum of a matrix of Rows×Cols (ascending, at
// least one eigenvalue) and its fit, nil where the estimator found no tail.
type Subject struct {
	Spectrum
	Fit        *Fit
	Rows, Cols int
}

// Metrics is the table of all metrics, in the order of tables and files; the first is
// the default.
func Metrics() []Metric {
	return []Metric{
		{"alpha", "exponent of the power law fitted to the tail", alphaMetric},
		{"stable_rank", "squared Frobenius norm over the largest eigenvalue of WᵀW", stableRank},
		{"spectral_norm", "largest eigenvalue of WᵀW", spectralNorm},
		{"frobenius_norm_squared", "sum of the eigenvalues of WᵀW", frobeniusNormSquared},
		{"frobenius_norm", "square root of that sum", frobeniusNorm},
		{"alpha_hat", "alpha · log10 of the largest eigenvalue", alphaHat},
		{"entropy", "of the eigenvalues over their sum, from 0 (one counts) to 1 (all alike)", entropy},
		{"mp_soft_rank", "upper edge of the Marchenko-Pastur bulk over the largest eigenvalue", mpSoftRank},
	}
}

// MetricNamed returns the metric of that name.
func MetricNamed(name string) (Metric, error) {
	return named("metric", name, Metrics(), func(m Metric) string { return m.Name })
}

func (s Subject) largest() float64 { return s.Lambda[len(s.Lambda)-1] }

func (s Subject) sum() float64 {
	sum := 0.0
	for _, lambda := range s.Lambda {
		sum += lambda
	}
	return sum
}

func alphaMetric(s Subject) Value {
	if s.Fit == nil {
		return None()
	}
	return Value(s.Fit.Alpha)
}

// alphaHat is the weighted alpha of Martin, Peng and Mahoney (Nature Communications 2021).
func alphaHat(s Subject) Value {
	if s.Fit == nil {
		return None()
	}
	return Value(s.Fit.Alpha * math.Log10(s.largest()))
}

func spectralNorm(s Subject) Value { return Value(s.largest()) }

func frobeniusNormSquared(s Subject) Value { return Value(s.sum()) }

func frobeniusNorm(s Subject) Value { return Value(math.Sqrt(s.sum())) }

func stableRank(s Subject) Value {
	if s.Rank == 0 {
		return None()
	}
	return Value(s.sum() / s.largest())
}

// entropy is Σ -p ln p over ln(rank), with p the eigenvalues over their sum.
func entropy(s Subject) Value {
	if s.Rank < 2 {
		return None()
	}
	sum, h := s.sum(), 0.0
	for _, lambda := range s.Lambda[len(s.Lambda)-s.Rank:] {
		p := lambda / sum
		h -= p * math.Log(p)
	}
	return Value(h / math.Log(float64(s.Rank)))
}
