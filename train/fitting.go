package train

// Largest is the most rows of a micro-batch, below a number that does not fit, whose
// estimated need is within a device's memory; 0: not even one is.
func Largest(rows int, memory int64, estimate func(rows int) Memory) int {
	low, high := 0, rows // low fits, high does not
	for high-low > 1 {
		middle := (low + high) / 2
		if estimate(middle).Total() <= memory {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}
