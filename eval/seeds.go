package eval

import (
	"math"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

// Spread is a figure of several runs that differ in their seed only. One run has a mean and
// tells nothing of the others: what takes two is nil then.
type Spread struct {
	Values []float64   `json:"values"`
	Mean   float64     `json:"mean"`
	SD     *float64    `json:"sd"`   // of the sample, over n-1
	CI95   *[2]float64 `json:"ci95"` // of the mean: mean ± t·SD/√n, t the 0.975 quantile of Student's distribution of n-1 degrees
	P      *float64    `json:"p"`    // see [NewSpread]; of differences only
}

// NewSpread summarises one value a seed, at least one. Where the values are differences of
// pairs, P is the two-sided probability of a mean as far from 0 were the true one 0: Student's
// paired test (1908), t = mean/(SD/√n). Differences that are all alike have P 0, or 1 where
// they are 0.
func NewSpread(values []float64, differences bool) Spread {
	s := Spread{Values: values, Mean: stat.Mean(values, nil)}
	n := float64(len(values))
	if n < 2 {
		return s
	}
	sd := stat.StdDev(values, nil)
	student := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: n - 1}
	scale := sd / math.Sqrt(n)
	half := student.Quantile(0.975) * scale
	s.SD, s.CI95 = &sd, &[2]float64{s.Mean - half, s.Mean + half}
	if !differences {
		return s
	}
	p := 1.0
	switch {
	case scale > 0:
		p = 2 * student.CDF(-math.Abs(s.Mean)/scale)
	case s.Mean != 0:
		p = 0
	}
	s.P = &p
	return s
}
