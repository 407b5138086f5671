package symeig

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
)

// everyLevel runs f with each instruction set that this machine has.
func everyLevel(t *testing.T, f func(t *testing.T)) {
	best := level
	defer func() { level = best }()
	for level = 0; level <= best; level++ {
		t.Run(Instructions(), f)
	}
}

// encoded writes values in a format; those it cannot hold are rounded toward zero.
func encoded(values []float64, format Format) []byte {
	var out []byte
	for _, x := range values {
		switch format {
		case F64:
			out = binary.LittleEndian.AppendUint64(out, math.Float64bits(x))
		case F32:
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(x)))
		case BF16:
			out = binary.LittleEndian.AppendUint16(out, uint16(math.Float32bits(float32(x))>>16))
		case F16:
			out = binary.LittleEndian.AppendUint16(out, halfBits(x))
		}
	}
	return out
}

// halfBits truncates x, by the definition of the format.
func halfBits(x float64) uint16 {
	sign := uint16(0)
	if math.Signbit(x) {
		sign = 0x8000
	}
	fraction, exponent := math.Frexp(math.Abs(x))
	switch {
	case x == 0:
		return sign
	case exponent < -13: // subnormal
		return sign | uint16(math.Ldexp(math.Abs(x), 24))
	}
	return sign | uint16(exponent+14)<<10 | uint16((2*fraction-1)*1024)
}

// decoded reads what encoded wrote.
func decoded(data []byte, format Format) []float64 {
	out := make([]float64, len(data)/format.Size())
	for i := range out {
		switch format {
		case F64:
			out[i] = math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:]))
		case F32:
			out[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:])))
		case BF16:
			out[i] = float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(data[2*i:])) << 16))
		case F16:
			h := binary.LittleEndian.Uint16(data[2*i:])
			exponent, fraction := int(h>>10&31), float64(h&1023)
			if exponent > 0 {
				fraction, exponent = fraction+1024, exponent-1
			}
			out[i] = math.Ldexp(fraction, exponent-24)
			if h&0x8000 != 0 {
				out[i] = -out[i]
			}
		}
	}
	return out
}

func normal(n int, seed uint64) []float64 {
	rng := rand.New(rand.NewPCG(seed, 1))
	out := make([]float64, n)
	for i := range out {
		out[i] = rng.NormFloat64()
	}
	return out
}

// Every format, both orientations and shapes on both sides of a tile and a panel,
// against the definition.
func TestGramAgainstDefinition(t *testing.T) {
	everyLevel(t, func(t *testing.T) {
		for _, shape := range [][2]int{{1, 1}, {3, 7}, {7, 3}, {65, 385}, {385, 65}, {800, 20}, {20, 800}, {70, 70}} {
			for _, format := range []Format{F64, F32, F16, BF16} {
				m := Matrix{Data: encoded(normal(shape[0]*shape[1], 1), format), Format: format, Rows: shape[0], Cols: shape[1]}
				double, err := Gram[float64](m, 0.25)
				require.NoError(t, err)
				single, err := Gram[float32](m, 0.25)
				require.NoError(t, err)
				w := mat.NewDense(m.Rows, m.Cols, decoded(m.Data, format))
				var want mat.SymDense
				if m.Rows < m.Cols {
					want.SymOuterK(0.0625, w)
				} else {
					want.SymOuterK(0.0625, w.T())
				}
				for i := range m.Side() {
					for j := range i + 1 {
						size := math.Sqrt(want.At(i, i) * want.At(j, j))
						require.InDelta(t, want.At(i, j), double.Data[i*double.Stride+j], 1e-14*size, "%v %d %d", m.Format, i, j)
						require.InDelta(t, want.At(i, j), float64(single.Data[i*single.Stride+j]), 2e-6*size, "%v %d %d", m.Format, i, j)
					}
				}
			}
		}
	})
}

func symmetric[T Float](from *mat.SymDense) Symmetric[T] {
	s := NewSymmetric[T](from.SymmetricDim())
	for i := range s.N {
		for j := range s.Stride {
			s.Data[i*s.Stride+j] = T(math.NaN()) // not to be read
		}
		for j := range i + 1 {
			s.Data[i*s.Stride+j] = T(from.At(i, j))
		}
	}
	return s
}

// Sides around every block size, and matrices that are not definite, against gonum.
func TestEigenvaluesAgainstGonum(t *testing.T) {
	checked := 0
	everyLevel(t, func(t *testing.T) {
		for _, n := range []int{1, 2, 3, 5, 16, 17, 31, 32, 33, 34, 63, 64, 65, 66, 97, 128, 130, 200, 257, 300} {
			values := normal(n*n, uint64(n))
			for i := range n {
				values[i*n+i] += 3 * float64(i%7)
			}
			a := mat.NewSymDense(n, values)
			var oracle mat.EigenSym
			require.True(t, oracle.Factorize(a, false))
			want := oracle.Values(nil)
			size := max(math.Abs(want[0]), want[n-1])
			double, err := Eigenvalues(symmetric[float64](a))
			require.NoError(t, err)
			require.InDeltaSlice(t, want, double, 1e-13*size, n)
			single, err := Eigenvalues(symmetric[float32](a))
			require.NoError(t, err)
			require.InDeltaSlice(t, want, single, 2e-6*size, n)
			checked++
		}
	})
	require.GreaterOrEqual(t, checked, 20)
}

// Matrices on which reflectors have nothing to do, or everything.
func TestEigenvaluesOfStructure(t *testing.T) {
	const n = 150
	diagonal, ones, band, corner := mat.NewSymDense(n, nil), mat.NewSymDense(n, nil), mat.NewSymDense(n, nil), mat.NewSymDense(n, nil)
	for i := range n {
		diagonal.SetSym(i, i, float64(i))
		for j := range i + 1 {
			ones.SetSym(i, j, 1)
		}
		band.SetSym(i, i, 2)
		if i > 0 {
			band.SetSym(i, i-1, -1)
		}
	}
	corner.SetSym(n-1, 0, 5)
	everyLevel(t, func(t *testing.T) {
		for name, a := range map[string]*mat.SymDense{"zero": mat.NewSymDense(n, nil), "diagonal": diagonal, "ones": ones, "band": band, "corner": corner} {
			var oracle mat.EigenSym
			require.True(t, oracle.Factorize(a, false))
			got, err := Eigenvalues(symmetric[float64](a))
			require.NoError(t, err)
			require.InDeltaSlice(t, oracle.Values(nil), got, 1e-11, name)
			got, err = Eigenvalues(symmetric[float32](a))
			require.NoError(t, err)
			require.InDeltaSlice(t, oracle.Values(nil), got, 3e-6*n, name)
		}
	})
}

func TestLargest(t *testing.T) {
	for _, format := range []Format{F64, F32, F16, BF16} {
		m := Matrix{Data: encoded([]float64{0.5, -3, 2, 0, -0.25, 1}, format), Format: format, Rows: 2, Cols: 3}
		largest, bad := m.Largest()
		require.Equal(t, 3.0, largest)
		require.Equal(t, -1, bad)
	}
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for _, format := range []Format{F64, F32, BF16} {
			m := Matrix{Data: encoded([]float64{1, 2, 3, x, 5, x}, format), Format: format, Rows: 3, Cols: 2}
			_, bad := m.Largest()
			require.Equal(t, 3, bad, "%v %v", format, x)
		}
	}
	_, bad := Matrix{Data: []byte{0, 0, 0, 0x7c}, Format: F16, Rows: 1, Cols: 2}.Largest()
	require.Equal(t, 1, bad)
}

// What would make C read beyond its data stops before it.
func TestWrongSizesPanic(t *testing.T) {
	data := make([]byte, 17)
	for _, m := range []Matrix{{data[:16], F32, 2, 3}, {data[:16], F32, 0, 4}, {data[:16], Format(9), 2, 2}, {data[1:], F32, 2, 2}, {nil, F32, 1 << 40, 1 << 40}} {
		require.Panics(t, func() { m.Largest() })
	}
	require.Panics(t, func() { _, _ = Eigenvalues(Symmetric[float32]{Data: make([]float32, 8), N: 3, Stride: 3}) })
}

func benchmark[T Float](b *testing.B) {
	for _, n := range []int{1024, 2048, 4096} {
		m := Matrix{Data: encoded(normal(n*n, 1), F32), Format: F32, Rows: n, Cols: n}
		b.Run(fmt.Sprint("Gram/", n), func(b *testing.B) {
			for b.Loop() {
				_, _ = Gram[T](m, 1)
			}
		})
		g, _ := Gram[T](m, 1)
		b.Run(fmt.Sprint("Eigenvalues/", n), func(b *testing.B) {
			for b.Loop() {
				_, _ = Eigenvalues(g)
			}
		})
	}
}

// go test -run - -bench . -benchtime 1x ./alphalora/symeig
func BenchmarkFloat32(b *testing.B) { benchmark[float32](b) }
func BenchmarkFloat64(b *testing.B) { benchmark[float64](b) }
