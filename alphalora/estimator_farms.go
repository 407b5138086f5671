package alphalora

import "alphalora/alphalora/symeig"

// farmsSide is the longest side of a window: the 2000 of the released experiments with
// language models.
const farmsSide = 2000

// farmsWindows cuts m into square windows, after FARMS (Hu et al., "Eigenspectrum Analysis
// of Neural Networks without Aspect Ratio Bias", ICML 2025): a matrix that is not square
// has a steeper spectrum by its shape alone, so all are measured through windows of one
// aspect ratio, here 1, and the windows' eigenvalues are pooled into one spectrum. A
// window's side is [farmsSide], or the smaller side of m where that is less. The released
// code lays a fixed 10×10 or 15×15 of them, with much overlap; here there are as many as
// cover m, evenly spaced from edge to edge, at a fraction of the cost.
func farmsWindows(m symeig.Matrix) []symeig.Matrix {
	side := min(farmsSide, m.Side())
	var list []symeig.Matrix
	for _, r := range starts(m.Rows, side) {
		for _, c := range starts(m.Cols, side) {
			list = append(list, window(m, r, c, side, side))
		}
	}
	return list
}

// starts places as few windows of a side as cover length, evenly.
func starts(length, side int) []int {
	count := (length + side - 1) / side
	at := make([]int, count)
	for i := 1; i < count; i++ {
		at[i] = i * (length - side) / (count - 1)
	}
	return at
}
