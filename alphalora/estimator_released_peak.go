package alphalora

import "math"

// fitReleasedPeak is [fitPeak] as AlphaLoRA's released code has it. There the lower
// bound is log10(0.95·peak), a logarithm compared with an eigenvalue: for a peak
// below about 1 it is negative and excludes nothing; for a large peak it lies far
// below it.
func fitReleasedPeak(s Spectrum) (Fit, error) {
	t := newTails(s)
	peak := t.peak()
	return t.closest(math.Log10(0.95*peak), 1.5*peak)
}
