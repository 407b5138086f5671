package alphalora

import "fmt"

// fitHill begins the tail at index n/2 (rounded down) of the ascending spectrum, so
// that its k = n - n/2 eigenvalues are the upper half, the beginning included. This is
// PL_Alpha_Hill of the paper in the form of TempBalance (Zhou et al., NeurIPS 2023).
func fitHill(s Spectrum) (Fit, error) {
	n := len(s.Lambda)
	if n/2 < n-s.Rank {
		return Fit{}, fmt.Errorf("rank %d of %d: the middle eigenvalue, where the tail begins, is zero", s.Rank, n)
	}
	t := newTails(s)
	from := n/2 - (n - s.Rank)
	alpha, ok := t.alpha(from)
	if !ok {
		return Fit{}, fmt.Errorf("the upper half of the spectrum has no spread")
	}
	return Fit{
		Alpha: alpha, XMin: t.lambda[from], Tail: len(t.lambda) - from,
		Distance: t.distance(from, alpha, 2),
	}, nil
}
