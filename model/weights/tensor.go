package weights

import (
	"encoding/binary"
	"fmt"
	"math"

	"alphalora/internal/fault"
)

// DType is a number format, spelt as in files.
type DType string

// The number formats that can be widened to float32; files may hold others.
const (
	F64  DType = "F64"
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
	I64  DType = "I64"
	I32  DType = "I32"
)

// sizes holds the bytes of one value of each format that a file may name.
var sizes = map[DType]int{F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, "I16": 2, "I8": 1,
	"U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}

// Tensor is a named array, its values in row-major order and little-endian.
type Tensor struct {
	Name  string
	DType DType
	Shape []int
	Data  []byte // read only: a view of the mapped file
	File  string

	start int // of Data in its file's body
}

// Count is the number of values.
func (t Tensor) Count() int { return len(t.Data) / sizes[t.DType] }

func (t Tensor) what() string {
	if t.File == "" {
		return "tensor " + t.Name
	}
	return t.File + ": tensor " + t.Name
}

// Float32s returns the values as float32: exact for F32, F16 and BF16, rounded for F64.
func (t Tensor) Float32s() ([]float32, error) {
	out := make([]float32, t.Count())
	switch t.DType {
	case F32:
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
		}
	case BF16:
		for i := range out {
			out[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(t.Data[2*i:])) << 16)
		}
	case F16:
		for i := range out {
			out[i] = fromF16(binary.LittleEndian.Uint16(t.Data[2*i:]))
		}
	case F64:
		for i := range out {
			out[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(t.Data[8*i:])))
		}
	default:
		return nil, fault.Input(t.what(), "save it as F32, F16 or BF16", "dtype %s is not a floating-point format that can be read", t.DType)
	}
	return out, nil
}

// Int64s returns the values of an I64 or I32 tensor.
func (t Tensor) Int64s() ([]int64, error) {
	out := make([]int64, t.Count())
	switch t.DType {
	case I64:
		for i := range out {
			out[i] = int64(binary.LittleEndian.Uint64(t.Data[8*i:]))
		}
	case I32:
		for i := range out {
			out[i] = int64(int32(binary.LittleEndian.Uint32(t.Data[4*i:])))
		}
	default:
		return nil, fault.Input(t.what(), "save it as I64 or I32", "dtype %s is not a whole-number format that can be read", t.DType)
	}
	return out, nil
}

// CheckFinite names the first value that is NaN or infinite, by its flat index.
func (t Tensor) CheckFinite() error {
	e, size := exponents[t.DType], sizes[t.DType]
	if e.finite(t.Data, size) {
		return nil
	}
	bad := 0
	for e.finite(t.Data[bad*size:(bad+1)*size], size) {
		bad++
	}
	return fault.Input(t.what(), "download it again or repair the checkpoint", "value %d of %d is not finite", bad, t.Count())
}

// FromFloat32s makes a tensor of values, rounded to nearest even where the format is
// narrower. Values too large for F16 are an error.
func FromFloat32s(name string, shape []int, values []float32, as DType) (Tensor, error) {
	t := Tensor{Name: name, DType: as, Shape: shape}
	n, err := product(shape)
	if err != nil || n != len(values) {
		return t, fmt.Errorf("tensor %s: %d values for shape %v", name, len(values), shape)
	}
	switch as {
	case F32:
		t.Data = make([]byte, 0, 4*n)
		for _, v := range values {
			t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(v))
		}
	case BF16:
		t.Data = make([]byte, 0, 2*n)
		for _, v := range values {
			t.Data = binary.LittleEndian.AppendUint16(t.Data, toBF16(v))
		}
	case F16:
		t.Data = make([]byte, 0, 2*n)
		for i, v := range values {
			h := toF16(v)
			if h&0x7c00 == 0x7c00 && math.Abs(float64(v)) <= math.MaxFloat32 {
				return t, fault.Input("tensor "+name, "use bfloat16 or float32", "value %d, %v, is too large for F16", i, v)
			}
			t.Data = binary.LittleEndian.AppendUint16(t.Data, h)
		}
	default:
		return t, fmt.Errorf("tensor %s: no conversion from float32 to %s", name, as)
	}
	return t, nil
}

func toBF16(v float32) uint16 {
	bits := math.Float32bits(v)
	if v != v {
		return uint16(bits>>16) | 0x40 // keep it a NaN
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

func fromF16(h uint16) float32 {
	sign, exponent, fraction := uint32(h&0x8000)<<16, int(h>>10&0x1f), uint32(h&0x3ff)
	switch exponent {
	case 0:
		v := float32(math.Ldexp(float64(fraction), -24))
		return math.Float32frombits(math.Float32bits(v) | sign)
	case 31:
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	}
	return math.Float32frombits(sign | uint32(exponent+112)<<23 | fraction<<13)
}

func toF16(v float32) uint16 {
	bits := math.Float32bits(v)
	sign := uint16(bits >> 16 & 0x8000)
	size := math.Abs(float64(v))
	switch {
	case v != v:
		return sign | 0x7e00
	case size >= 65520: // rounds to 2¹⁶
		return sign | 0x7c00
	case size < 0x1p-14: // subnormal: a multiple of 2⁻²⁴
		return sign | uint16(math.RoundToEven(math.Ldexp(size, 24)))
	}
	rest := bits & 0x7fffffff
	rest += 0xfff + rest>>13&1
	return sign | uint16(rest>>13-112<<10)
}
