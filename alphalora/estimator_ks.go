package alphalora

// fitKS tries every eigenvalue but the largest as xmin and keeps the tail nearest to
// its power law, after Clauset, Shalizi and Newman, "Power-law distributions in
// empirical data" (SIAM Review 2009), section 3.3. The sums come from suffix sums,
// and a candidate is dropped as soon as it is farther than the best one so far.
func fitKS(s Spectrum) (Fit, error) {
	t := newTails(s)
	return t.closest(0, t.lambda[len(t.lambda)-1])
}
