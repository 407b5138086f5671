package alphalora

import "math"

// mpSoftRank is the soft rank of Martin and Mahoney ("Implicit Self-Regularization in Deep
// Neural Networks", JMLR 2021): the upper edge of the Marchenko-Pastur bulk over the
// largest eigenvalue. Near 1 the matrix is like noise; the smaller, the farther its largest
// eigenvalue stands out. A matrix of independent entries of variance σ², n×m with n ≤ m,
// has its eigenvalues in σ²·m·(1 ± √q)², q = n/m. σ² is found from the median, which
// outliers hardly move: σ² = median / (m·μ), with μ the median of the law for σ²·m = 1
// (after Gavish and Donoho, "The Optimal Hard Threshold for Singular Values is 4/√3", 2014).
func mpSoftRank(s Subject) Value {
	n := len(s.Lambda)
	median := s.Lambda[n/2]
	if s.Rank == 0 || median == 0 {
		return None()
	}
	q := float64(min(s.Rows, s.Cols)) / float64(max(s.Rows, s.Cols))
	edge := median / mpMedian(q) * math.Pow(1+math.Sqrt(q), 2)
	return Value(edge / s.largest())
}

// mpMedian is the median of the Marchenko-Pastur law for 0 < q ≤ 1 and unit scale, whose
// density is √((b-x)(x-a)) / (2π·q·x) on a = (1-√q)² ≤ x ≤ b = (1+√q)². Substituting
// x = 1+q-2√q·cos t makes the integrand smooth:
//
//	P(x ≤ x(t)) = 2/π ∫₀ᵗ sin²u / (1+q-2√q·cos u) du.
func mpMedian(q float64) float64 {
	const steps = 2000
	root := math.Sqrt(q)
	density := func(u float64) float64 {
		x := 1 + q - 2*root*math.Cos(u)
		if x < 1e-12 {
			return 1 // the limit for q = 1 and u = 0
		}
		return 2 / math.Pi * math.Sin(u) * math.Sin(u) / x
	}
	sum, width := 0.0, math.Pi/steps
	for i := range steps {
		part := width * density((float64(i)+0.5)*width)
		if sum+part >= 0.5 {
			t := (float64(i) + (0.5-sum)/part) * width
			return 1 + q - 2*root*math.Cos(t)
		}
		sum += part
	}
	return 1 + q
}
