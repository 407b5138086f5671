package alphalora

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func subject(lambda []float64, rows, cols int) Subject {
	return Subject{Spectrum: spectrumOf(lambda, Double), Rows: rows, Cols: cols}
}

// The conformance suite of every metric: finite or none, unchanged by transposing, never a
// number for a zero matrix unless it is 0.
func TestEveryMetric(t *testing.T) {
	w := heavyTailed(30, 50, 1)
	s := spectrumBy(t, w, 30, 50, ways()[0])
	fit, err := fitHill(s)
	require.NoError(t, err)
	for _, m := range Metrics() {
		v := m.of(Subject{Spectrum: s, Fit: &fit, Rows: 30, Cols: 50})
		require.True(t, v.Known(), m.Name)
		require.False(t, math.IsInf(float64(v), 0), m.Name)
		require.Equal(t, v, m.of(Subject{Spectrum: s, Fit: &fit, Rows: 50, Cols: 30}), m.Name)
		zero := m.of(subject(make([]float64, 30), 30, 50))
		require.True(t, !zero.Known() || zero == 0, m.Name)
		one := m.of(subject([]float64{7}, 1, 5))
		require.False(t, math.IsInf(float64(one), 0), m.Name)
	}
}

func TestMetricsOfKnownSpectra(t *testing.T) {
	even, single := subject([]float64{2, 2, 2, 2}, 4, 4), subject([]float64{0, 0, 1e-9, 9}, 4, 4)
	require.InDelta(t, 1, float64(entropy(even)), 1e-12)
	require.InDelta(t, 0, float64(entropy(single)), 1e-7)
	require.InDelta(t, 4, float64(stableRank(even)), 1e-12)
	require.InDelta(t, math.Sqrt(8), float64(frobeniusNorm(even)), 1e-12)
	require.False(t, mpSoftRank(subject([]float64{0, 0, 0, 5}, 4, 4)).Known())
}

// A matrix of noise has a soft rank near 1 whatever its shape and scale; one strong
// direction lowers it.
func TestMPSoftRank(t *testing.T) {
	for _, shape := range [][2]int{{300, 300}, {200, 600}, {900, 150}} {
		rng := rand.New(rand.NewPCG(1, 2))
		w := make([]float32, shape[0]*shape[1])
		for i := range w {
			w[i] = float32(0.3 * rng.NormFloat64())
		}
		s := spectrumBy(t, w, shape[0], shape[1], ways()[0])
		require.InDelta(t, 1, float64(mpSoftRank(Subject{Spectrum: s, Rows: shape[0], Cols: shape[1]})), 0.06, shape)
		for j := range shape[1] {
			w[j] += 20
		}
		s = spectrumBy(t, w, shape[0], shape[1], ways()[0])
		require.Less(t, float64(mpSoftRank(Subject{Spectrum: s, Rows: shape[0], Cols: shape[1]})), 0.1)
	}
}

// The median against the law's own distribution, summed directly.
func TestMPMedian(t *testing.T) {
	for _, q := range []float64{0.01, 0.25, 0.5, 0.9, 1} {
		low, high, median := math.Pow(1-math.Sqrt(q), 2), math.Pow(1+math.Sqrt(q), 2), mpMedian(q)
		below, all, steps := 0.0, 0.0, 400000
		for i := range steps {
			// equal steps of √x, as the density may be unbounded at 0
			r := math.Sqrt(low) + (float64(i)+0.5)/float64(steps)*(math.Sqrt(high)-math.Sqrt(low))
			x := r * r
			f := math.Sqrt(max(0, (high-x)*(x-low))) / x * r
			all += f
			if x <= median {
				below += f
			}
		}
		require.InDelta(t, 0.5, below/all, 1e-3, q)
	}
}

func TestFarmsWindows(t *testing.T) {
	require.Equal(t, []int{0}, starts(2000, 2000))
	require.Equal(t, []int{0, 1048, 2096}, starts(4096, 2000))
	require.Equal(t, []int{0, 1000}, starts(2000, 1000))
	for _, shape := range [][2]int{{30, 30}, {30, 75}, {75, 30}} {
		w := heavyTailed(shape[0], shape[1], 3)
		m := matrixOf(w, shape[0], shape[1])
		covered := make([]bool, len(w))
		parts := farmsWindows(m)
		for k, part := range parts {
			require.Equal(t, [2]int{30, 30}, [2]int{part.Rows, part.Cols})
			at := starts(max(shape[0], shape[1]), 30)[k]
			for i := range 30 {
				for j := range 30 {
					r, c := i, at+j
					if shape[0] > shape[1] {
						r, c = at+i, j
					}
					covered[r*shape[1]+c] = true
					require.Equal(t, float64(w[r*shape[1]+c]), part.Values()[i*30+j])
				}
			}
		}
		require.NotContains(t, covered, false)
	}
}

// The bias that farms is there against: of noise, hill depends on the shape, farms less.
func TestFarmsRemovesTheBiasOfShape(t *testing.T) {
	alpha := func(name string, rows, cols int) float64 {
		rng := rand.New(rand.NewPCG(4, 4))
		w := make([]float32, rows*cols)
		for i := range w {
			w[i] = float32(rng.NormFloat64())
		}
		m := Matrix{Name: "w", Rows: rows, Cols: cols, DType: "F32", Bytes: func() ([]byte, error) { return matrixOf(w, rows, cols).Data, nil }}
		a := analyzed(t, []Matrix{m}, name, Single)
		return float64(a.Matrices[0].Metrics["alpha"])
	}
	require.Greater(t, alpha("hill", 64, 512)-alpha("hill", 64, 64), 1.0)
	require.InDelta(t, alpha("farms", 64, 64), alpha("farms", 64, 512), 0.1)
	require.Equal(t, alpha("hill", 64, 64), alpha("farms", 64, 64))
}

// Single precision is left where it is not enough, and the result is that of double.
func TestSinglePrecisionGivesWay(t *testing.T) {
	const n = 80
	w := make([]float32, n*n)
	rng := rand.New(rand.NewPCG(6, 6))
	for i := range n {
		for j := range n {
			w[i*n+j] = float32(rng.NormFloat64() * math.Exp(-float64(i)/6))
		}
	}
	steep := Matrix{Name: "steep", Rows: n, Cols: n, DType: "F32", Bytes: func() ([]byte, error) { return matrixOf(w, n, n).Data, nil }}
	double, single := analyzed(t, []Matrix{steep}, "hill", Double).Matrices[0], analyzed(t, []Matrix{steep}, "hill", Single).Matrices[0]
	require.Equal(t, Double, single.Precision)
	require.Equal(t, double, single)

	flat := smallModel(1)
	require.Equal(t, Single, analyzed(t, flat, "hill", Single).Matrices[0].Precision)
	require.Equal(t, Double, analyzed(t, smallModel(1), "ks", Single).Matrices[0].Precision, "it selects xmin")
}
