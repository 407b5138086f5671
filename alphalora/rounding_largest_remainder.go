package alphalora

import (
	"cmp"
	"math"
	"slices"
)

// largestRemainder is Hamilton's method with a floor: a layer whose quota
// total·w/Σw is below one gets exactly one and leaves the sharing, until no quota is
// below one; of the others each gets the whole part of its quota, and what is left
// goes one by one to the largest fractions, the earlier layer first among equals.
func largestRemainder(weights []float64, total int) []int {
	counts := make([]int, len(weights))
	quota := make([]float64, len(weights))
	left := total
	for again := true; again; {
		again = false
		sum := 0.0
		for i, w := range weights {
			if counts[i] == 0 {
				sum += w
			}
		}
		share := left
		for i, w := range weights {
			if counts[i] != 0 {
				continue
			}
			quota[i] = w / sum * float64(share)
			if quota[i] < 1 {
				counts[i], again = 1, true
				left--
			}
		}
	}
	var open []int
	for i, q := range quota {
		if counts[i] == 0 {
			open = append(open, i)
			counts[i] = int(q)
			left -= counts[i]
		}
	}
	fraction := func(i int) float64 { return quota[i] - math.Floor(quota[i]) }
	slices.SortStableFunc(open, func(i, j int) int { return cmp.Compare(fraction(j), fraction(i)) })
	for _, i := range open[:left] {
		counts[i]++
	}
	return counts
}
