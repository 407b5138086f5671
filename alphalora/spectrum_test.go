package alphalora

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"alphalora/alphalora/symeig"
	"alphalora/internal/fault"

	"github.com/stretchr/testify/require"
)

// heavyTailed is a random matrix with a heavy-tailed spectrum.
func heavyTailed(rows, cols int, seed uint64) []float32 {
	rng := rand.New(rand.NewPCG(seed, 7))
	w := make([]float32, rows*cols)
	for i := range rows {
		scale := math.Pow(rng.Float64()+0.01, -0.4)
		for j := range cols {
			w[i*cols+j] = float32(scale * rng.NormFloat64() / math.Sqrt(float64(cols)))
		}
	}
	return w
}

func transposed(w []float32, rows, cols int) []float32 {
	out := make([]float32, len(w))
	for i := range rows {
		for j := range cols {
			out[j*rows+i] = w[i*cols+j]
		}
	}
	return out
}

// matrixOf is w as a file holds it.
func matrixOf(w []float32, rows, cols int) symeig.Matrix {
	data := make([]byte, 0, 4*len(w))
	for _, x := range w {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
	}
	return symeig.Matrix{Data: data, Format: symeig.F32, Rows: rows, Cols: cols}
}

// how is one way to compute spectra.
type how struct {
	name      string
	solver    Solver
	precision Precision
}

func ways() []how {
	return []how{{"f64", TwoStage(), Double}, {"f32", TwoStage(), Single}, {"gonum", Gonum(), Double}}
}

func spectrumBy(t *testing.T, w []float32, rows, cols int, by how) Spectrum {
	t.Helper()
	s, err := Eigenvalues(matrixOf(w, rows, cols), by.solver, by.precision)
	require.NoError(t, err)
	require.Len(t, s.Lambda, min(rows, cols))
	require.True(t, slices.IsSorted(s.Lambda))
	require.GreaterOrEqual(t, s.Lambda[0], 0.0)
	return s
}

func TestEigenvaluesOfKnownMatrices(t *testing.T) {
	diagonal := []float32{3, 0, 0, 0, 0, -1, 0, 0, 0, 0, 2, 0}
	for _, by := range ways() {
		s := spectrumBy(t, diagonal, 3, 4, by)
		require.InDeltaSlice(t, []float64{1, 4, 9}, s.Lambda, 1e-6)
		require.Equal(t, 3, s.Rank)
	}
}

// Alpha does not change when W is scaled (even so far that its squares leave the range
// of float32), transposed, or its rows are permuted. The released estimator is left
// out of scaling alone: its lower bound is a logarithm of the eigenvalues' size.
func TestAlphaIsInvariant(t *testing.T) {
	const rows, cols = 60, 96
	w := heavyTailed(rows, cols, 3)
	permuted := slices.Clone(w)
	for i, from := range rand.New(rand.NewPCG(1, 2)).Perm(rows) {
		copy(permuted[i*cols:(i+1)*cols], w[from*cols:(from+1)*cols])
	}
	scaled := func(by float64) []float32 {
		out := slices.Clone(w)
		for i := range out {
			out[i] = float32(float64(out[i]) * by)
		}
		return out
	}
	for _, e := range Estimators() {
		for _, by := range ways() {
			tolerance := map[Precision]float64{Double: 1e-8, Single: 1e-3}[by.precision]
			want, err := e.Fit(spectrumBy(t, w, rows, cols, by))
			require.NoError(t, err)
			same := func(what string, x []float32, rows, cols int) {
				got, err := e.Fit(spectrumBy(t, x, rows, cols, by))
				require.NoError(t, err)
				near(t, want.Alpha, got.Alpha, tolerance, "%s %s %s", e.Name, by.name, what)
				require.Equal(t, want.Tail, got.Tail)
			}
			same("transposed", transposed(w, rows, cols), cols, rows)
			same("permuted", permuted, rows, cols)
			if e.Name != "released-peak" {
				same("small", scaled(0x1p-80), rows, cols)
				same("large", scaled(0x1p90), rows, cols)
			}
		}
	}
}

// The conformance suite of every estimator: a sound fit on a heavy tail, of which xmin
// is an eigenvalue, the tail's length and alpha agree with it, the distance with both.
func TestEveryEstimator(t *testing.T) {
	for _, e := range Estimators() {
		for seed := range uint64(5) {
			s := spectrumBy(t, heavyTailed(40+int(seed), 64, seed), 40+int(seed), 64, ways()[0])
			before := slices.Clone(s.Lambda)
			fit, err := e.Fit(s)
			require.NoError(t, err, e.Name)
			again, err := e.Fit(s)
			require.NoError(t, err)
			require.Equal(t, fit, again)
			require.Equal(t, before, s.Lambda, "the spectrum is not changed")

			from := slices.Index(s.Lambda, fit.XMin)
			require.GreaterOrEqual(t, from, 0)
			tail := s.Lambda[from:]
			require.Len(t, tail, fit.Tail)
			require.GreaterOrEqual(t, fit.Tail, 2)
			var sum, distance float64
			for _, lambda := range tail {
				sum += math.Log(lambda / fit.XMin)
			}
			require.InEpsilon(t, 1+float64(fit.Tail)/sum, fit.Alpha, 1e-9)
			for j, lambda := range tail {
				distance = max(distance, math.Abs(1-math.Pow(lambda/fit.XMin, 1-fit.Alpha)-float64(j)/float64(fit.Tail)))
			}
			require.InDelta(t, distance, fit.Distance, 1e-9)
		}
	}
}

// Nothing that the ks scan drops early would have been nearer.
func TestKSIsTheNearestOfAll(t *testing.T) {
	s := spectrumBy(t, heavyTailed(80, 100, 9), 80, 100, ways()[0])
	fit, err := fitKS(s)
	require.NoError(t, err)
	tails := newTails(s)
	best := math.Inf(1)
	for i := range len(s.Lambda) - 1 {
		alpha, ok := tails.alpha(i)
		require.True(t, ok)
		best = min(best, tails.distance(i, alpha, math.Inf(1)))
	}
	require.Equal(t, best, fit.Distance)
}

// A Pareto sample gives its exponent back.
func TestKnownExponent(t *testing.T) {
	const n, alpha = 4000, 3.5
	rng := rand.New(rand.NewPCG(5, 5))
	lambda := make([]float64, n)
	for i := range lambda {
		lambda[i] = math.Pow(1-rng.Float64(), -1/(alpha-1))
	}
	slices.Sort(lambda)
	for _, name := range []string{"hill", "ks"} {
		e, err := EstimatorNamed(name)
		require.NoError(t, err)
		fit, err := e.Fit(Spectrum{Lambda: lambda, Rank: n})
		require.NoError(t, err)
		require.InDelta(t, alpha, fit.Alpha, 0.2, name)
	}
}

func TestDegenerateSpectraHaveNoAlpha(t *testing.T) {
	constant, identity := make([]float32, 12*10), make([]float32, 12*12)
	for i := range constant {
		constant[i] = 0.3
	}
	for i := range 12 {
		identity[i*12+i] = 5
	}
	low := make([]float32, 12*10) // rank 2
	for i := range 12 {
		for j := range 10 {
			low[i*10+j] = float32(i + 3*j*j)
		}
	}
	cases := []struct {
		name       string
		w          []float32
		rows, cols int
		reason     string
	}{
		{"zero", make([]float32, 40), 5, 8, "zero matrix"},
		{"constant", constant, 12, 10, ""},
		{"identity", identity, 12, 12, "spread"},
		{"few", heavyTailed(3, 9, 1), 3, 9, "too few"},
	}
	for _, c := range cases {
		for _, e := range Estimators() {
			for _, by := range ways() {
				fit, err := e.Fit(spectrumBy(t, c.w, c.rows, c.cols, by))
				require.Error(t, err, "%s %s: %+v", c.name, e.Name, fit)
				require.ErrorContains(t, err, c.reason)
			}
		}
	}
	twoValued := make([]float32, 64*64)
	for i := range 64 {
		twoValued[i*64+i] = float32(1 + 9*(i%2))
	}
	for _, e := range Estimators()[1:4] {
		_, err := e.Fit(spectrumBy(t, twoValued, 64, 64, ways()[0]))
		require.ErrorContains(t, err, "only 2 different ones", e.Name)
	}
	_, err := Estimators()[0].Fit(spectrumBy(t, low, 12, 10, ways()[0]))
	require.ErrorContains(t, err, "rank 2 of 10")
}

// A rank above half the side: hill is what the paper's formula says.
func TestDeficientRankKeepsItsAlpha(t *testing.T) {
	w := heavyTailed(20, 30, 4)
	copy(w[:30], w[30:60]) // two equal rows
	for _, by := range ways() {
		s := spectrumBy(t, w, 20, 30, by)
		require.Equal(t, 19, s.Rank)
		fit, err := fitHill(s)
		require.NoError(t, err)
		require.Equal(t, 10, fit.Tail)
		require.Equal(t, s.Lambda[10], fit.XMin)
	}
}

// Single precision hides no deficient rank: exact duplicates are solved in double, told, and
// found in the cache. A full rank is left alone, though its smallest eigenvalues are noise.
func TestDuplicatesAreToldInSinglePrecision(t *testing.T) {
	const n = 256
	w := make([]float32, n*n)
	rng := rand.New(rand.NewPCG(2, 8))
	for i := range w {
		w[i] = float32(rng.NormFloat64())
	}
	for i := range n { // one direction stands out
		w[i] *= 40
	}
	matrix := func(w []float32) []Matrix {
		return []Matrix{{Name: "w", Rows: n, Cols: n, DType: "F32", Bytes: func() ([]byte, error) { return matrixOf(w, n, n).Data, nil }}}
	}
	full := analyzed(t, matrix(w), "hill", Single).Matrices[0]
	require.Equal(t, Single, full.Precision)
	require.Less(t, full.Spectrum.Rank, n, "below the noise of single precision")
	require.Empty(t, full.Warning)

	twice := slices.Clone(w)
	copy(twice[:6*n], twice[6*n:12*n])
	solved := 0
	cache, _ := cached(t)
	opts := Options{Estimator: Estimators()[0], Solver: counted(&solved), Precision: Single, Cache: cache}
	for range 2 {
		a, err := Analyze(context.Background(), "m", matrix(twice), opts)
		require.NoError(t, err)
		require.Equal(t, "rank 250 of 256; the tail lies within it", a.Matrices[0].Warning)
		require.Equal(t, Double, a.Matrices[0].Precision)
	}
	require.Equal(t, 2, solved, "once in each precision")
}

func TestBadMatrices(t *testing.T) {
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		w := heavyTailed(4, 4, 1)
		w[5] = bad
		_, err := Eigenvalues(matrixOf(w, 4, 4), TwoStage(), Double)
		require.ErrorContains(t, err, "value 1 of row 1 is not finite")
	}
	for _, c := range []struct {
		bytes, rows, cols int
		dtype, reason     string
	}{{20, 2, 3, "F32", "20 bytes for 2×3"}, {24, 0, 3, "F32", "0×3"}, {24, 2, 3, "I32", "not a floating-point"}, {8, 1 << 40, 1 << 40, "BF16", "8 bytes"}} {
		_, err := view(make([]byte, c.bytes), c.dtype, c.rows, c.cols)
		require.ErrorContains(t, err, c.reason)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	}
	for _, magnitude := range []float64{1e-45, 1e-39, 1e-300, 1e39, 1e200} {
		data := make([]byte, 8*4*5)
		for i := range 20 {
			binary.LittleEndian.PutUint64(data[8*i:], math.Float64bits(magnitude*float64(i)/19))
		}
		m, err := view(data, "F64", 4, 5)
		require.NoError(t, err)
		_, err = Eigenvalues(m, TwoStage(), Single)
		require.ErrorContains(t, err, fmt.Sprintf("the largest magnitude is %.3g", magnitude))
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	}
	for _, magnitude := range []float32{0x1p-126, math.MaxFloat32} { // the ends of the range, where alpha is as anywhere
		w := heavyTailed(8, 8, 1)
		for i := range w {
			w[i] *= 0x1p-6 * magnitude
		}
		w[3] = magnitude
		_, err := Estimators()[0].Fit(spectrumBy(t, w, 8, 8, ways()[0]))
		require.NoError(t, err)
	}
	_, err := ParsePrecision("f16")
	require.ErrorContains(t, err, "f32 or f64")
}
