package alphalora

import "math"

// peakBins is the number of bins of the histogram of log10 λ.
const peakBins = 100

// fitPeak looks for xmin from 0.95 to 1.5 times the peak of the histogram of log10 λ:
// the "fix_fingers = xmin_peak" of WeightWatcher and TempBalance, for spectra whose
// bulk would otherwise pull xmin too far down.
func fitPeak(s Spectrum) (Fit, error) {
	t := newTails(s)
	peak := t.peak()
	return t.closest(0.95*peak, 1.5*peak)
}

// peak is the left edge of the fullest of [peakBins] equal bins of log10 λ (the
// lowest of equals).
func (t tails) peak() float64 {
	low, high := t.log[0]/math.Ln10, t.log[len(t.log)-1]/math.Ln10
	if low == high {
		return t.lambda[0]
	}
	var counts [peakBins]int
	for _, log := range t.log {
		bin := int((log/math.Ln10 - low) / (high - low) * peakBins)
		counts[min(bin, peakBins-1)]++
	}
	fullest := 0
	for bin, count := range counts {
		if count > counts[fullest] {
			fullest = bin
		}
	}
	return math.Pow(10, low+(high-low)*float64(fullest)/peakBins)
}
