package weights_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"alphalora/model/weights"

	"github.com/stretchr/testify/require"
)

func random(t *testing.T, as weights.DType, shape ...int) weights.Tensor {
	n := 1
	for _, d := range shape {
		n *= d
	}
	rng := rand.New(rand.NewPCG(uint64(n), 3))
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(rng.NormFloat64())
	}
	w, err := weights.FromFloat32s("w", shape, values, as)
	require.NoError(t, err)
	return w
}

// TestIntoEqualsTheNaiveCopy holds formats, shapes and both orders against loops.
func TestIntoEqualsTheNaiveCopy(t *testing.T) {
	checked := 0
	for _, from := range []weights.DType{weights.F32, weights.BF16, weights.F16} {
		for _, as := range []weights.DType{weights.F32, weights.BF16, weights.F16} {
			for _, shape := range [][]int{{1, 1}, {3, 5}, {16, 16}, {17, 33}, {40, 1}, {1, 40}, {300, 700}, {700, 300}} {
				w := random(t, from, shape...)
				values, err := w.Float32s()
				require.NoError(t, err)
				want, err := weights.FromFloat32s("w", shape, values, as)
				require.NoError(t, err)
				dst := make([]byte, len(want.Data))
				require.NoError(t, w.Into(dst, as, false))
				require.Equal(t, want.Data, dst, "%s as %s %v", from, as, shape)
				require.NoError(t, w.Into(dst, as, true))
				size := len(dst) / len(values)
				for r := range shape[0] {
					for c := range shape[1] {
						at, to := (r*shape[1]+c)*size, (c*shape[0]+r)*size
						if !slices.Equal(want.Data[at:at+size], dst[to:to+size]) {
							require.Fail(t, "swapped", "%s as %s %v: row %d, column %d", from, as, shape, r, c)
						}
					}
				}
				checked++
			}
		}
	}
	t.Logf("%d copies checked", checked)
}

// TestIntoFindsWhatIsNotFinite puts one bad value at each of many places.
func TestIntoFindsWhatIsNotFinite(t *testing.T) {
	for _, format := range []weights.DType{weights.F32, weights.BF16, weights.F16} {
		for _, turn := range []bool{false, true} {
			for _, at := range []int{0, 1, 7, 100, 19*23 - 1} {
				for _, bad := range []uint64{0x7f800000, 0xff800000, 0x7fc00000} {
					w := random(t, format, 19, 23)
					switch format {
					case weights.F32:
						binary.LittleEndian.PutUint32(w.Data[4*at:], uint32(bad))
					case weights.BF16:
						binary.LittleEndian.PutUint16(w.Data[2*at:], uint16(bad>>16))
					case weights.F16:
						binary.LittleEndian.PutUint16(w.Data[2*at:], uint16(bad>>16|0x7c00))
					}
					err := w.Into(make([]byte, len(w.Data)), format, turn)
					require.ErrorContains(t, err, fmt.Sprintf("value %d of 437 is not finite", at), "%s %v", format, turn)
				}
			}
		}
	}
	big := random(t, weights.F32, 2, 2)
	binary.LittleEndian.PutUint32(big.Data, math.Float32bits(math.MaxFloat32))
	require.NoError(t, big.Into(make([]byte, 16), weights.F32, false), "the largest number is finite")
}

func TestIntoRefusesWhatDoesNotFit(t *testing.T) {
	large := random(t, weights.F32, 4)
	binary.LittleEndian.PutUint32(large.Data[4:], math.Float32bits(math.MaxFloat32))
	require.ErrorContains(t, large.Into(make([]byte, 8), weights.BF16, false), "too large for BF16")
	require.ErrorContains(t, random(t, weights.F32, 4).Into(make([]byte, 16), weights.F32, true), "not a matrix")
	require.ErrorContains(t, random(t, weights.F32, 4).Into(make([]byte, 8), weights.F32, false), "has 16 bytes where 8")
}

// TestReleaseLosesNothing gives pages back and reads them again.
func TestReleaseLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.safetensors")
	w := random(t, weights.F32, 100, 1000)
	require.NoError(t, weights.Write(path, []weights.Tensor{w}, nil))
	set, err := weights.OpenFile(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, set.Close()) }()
	mapped, _ := set.Get("w")
	require.Equal(t, w.Data, mapped.Data)
	mapped.Release()
	require.Equal(t, w.Data, mapped.Data)
	w.Release() // nothing is mapped: nothing is done
}
