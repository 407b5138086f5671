package report

import "math"

// maxPoints bounds the points of a drawn curve: about one for each pixel column.
const maxPoints = 600

// thin returns the ascending indices of at most n of the points (x, y), n at least 3,
// by largest-triangle-three-buckets; the first and the last stay.
func thin(x, y []float64, n int) []int {
	last := len(x) - 1
	if len(x) <= n {
		all := make([]int, len(x))
		for i := range all {
			all[i] = i
		}
		return all
	}
	bucket := func(k int) int { return 1 + k*(last-1)/(n-2) } // first point of bucket k
	kept := make([]int, 1, n)
	for k := range n - 2 {
		from, to := bucket(k), bucket(k+1)
		next := last + 1
		if k+2 <= n-2 {
			next = bucket(k + 2)
		}
		a := kept[k]
		mx, my := mean(x[to:next]), mean(y[to:next])
		best, area := from, -1.0
		for c := from; c < to; c++ {
			if s := math.Abs((x[a]-mx)*(y[c]-y[a]) - (x[a]-x[c])*(my-y[a])); s > area {
				best, area = c, s
			}
		}
		kept = append(kept, best)
	}
	return append(kept, last)
}

// smooth returns the centred moving average of width points, or width+1 when that is
// odd; of fewer near the ends.
func smooth(y []float64, width int) []float64 {
	out := make([]float64, len(y))
	for i := range y {
		reach := min(width/2, i, len(y)-1-i)
		out[i] = mean(y[i-reach : i+reach+1])
	}
	return out
}

func mean(v []float64) float64 {
	var sum float64
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

// span is a closed range of values.
type span struct{ lo, hi float64 }

func emptySpan() span { return span{math.Inf(1), math.Inf(-1)} }

func (s *span) add(v float64) { s.lo, s.hi = min(s.lo, v), max(s.hi, v) }

// narrow tells whether s has no width that could be seen beside its magnitude.
func (s span) narrow() bool {
	return s.hi-s.lo <= 1e-9*max(math.Abs(s.lo), math.Abs(s.hi))
}

// padded widens s by a share of its width, or by something where it has none.
func (s span) padded(share float64) span {
	pad := (s.hi - s.lo) * share
	if s.narrow() {
		pad = math.Abs(s.hi) * 0.1
	}
	if pad == 0 {
		pad = 1
	}
	return span{s.lo - pad, s.hi + pad}
}

// paddedLog is padded on a logarithmic axis.
func (s span) paddedLog(share float64) span {
	p := span{math.Log10(s.lo), math.Log10(s.hi)}.padded(share)
	return span{math.Pow(10, p.lo), math.Pow(10, p.hi)}
}
