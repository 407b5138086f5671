package alphalora

import (
	"math"
	"math/big"
)

// releasedRounding is what the released expert_number.py does, found from its
// results. Every quota total·w/Σw is rounded by itself (halves to even). What is then
// missing from the total goes, all of it, to one layer: the one where w - count is
// least; what is too much is taken from the one where w - count is greatest (the
// first of equals). It compares the weight itself, not the quota, with the count, so
// the layer is most often the one of least or greatest weight, and a layer can end
// with none, or below none: 3 of the 160 reference cases do (see [Allocation.Trainable]).
func releasedRounding(weights []float64, total int) []int {
	sum := pairwiseSum(weights)
	counts := make([]int, len(weights))
	left := total
	for i, w := range weights {
		counts[i] = int(math.RoundToEven(w / sum * float64(total)))
		left -= counts[i]
	}
	if left == 0 {
		return counts
	}
	chosen := 0
	for i, w := range weights {
		excess, best := w-float64(counts[i]), weights[chosen]-float64(counts[chosen])
		if left > 0 && excess < best || left < 0 && excess > best {
			chosen = i
		}
	}
	counts[chosen] += left
	return counts
}

// pairwiseSum adds in the order in which NumPy does, so that the released quotas come
// out bit for bit: up to 128 numbers in eight interleaved sums, more in halves.
func pairwiseSum(x []float64) float64 {
	n := len(x)
	if n > 128 {
		half := n / 2
		half -= half % 8
		return pairwiseSum(x[:half]) + pairwiseSum(x[half:])
	}
	var lanes [8]float64
	whole := n - n%8
	for i := range whole {
		lanes[i%8] += x[i]
	}
	sum := ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]))
	for _, v := range x[whole:] {
		sum += v
	}
	return sum
}

// power is x^y for x > 0 and y ≥ 0, correctly rounded but for the rarest cases, as the
// C library's pow is and [math.Pow] is not: a quota of n + 1/2 must not be missed by a
// bit. The exponent is a binary fraction, so x^y is a product of squares of x and of
// repeated square roots of it.
func power(x, y float64) float64 {
	if rough := math.Pow(x, y); rough == 0 || math.IsInf(rough, 0) || y == 0 {
		return rough
	}
	const precision = 160
	result := big.NewFloat(1).SetPrec(precision)
	whole, fraction := math.Modf(y)
	square := new(big.Float).SetPrec(precision).SetFloat64(x)
	root := new(big.Float).SetPrec(precision).SetFloat64(x)
	for ; whole >= 1; whole = math.Floor(whole / 2) {
		if math.Mod(whole, 2) == 1 {
			result.Mul(result, square)
		}
		square.Mul(square, square)
	}
	for fraction > 0 {
		root.Sqrt(root)
		if fraction *= 2; fraction >= 1 {
			result.Mul(result, root)
			fraction--
		}
	}
	rounded, _ := result.Float64()
	return rounded
}
