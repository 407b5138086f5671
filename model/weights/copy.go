package weights

import (
	"encoding/binary"
	"math"
	"os"
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"alphalora/internal/fault"

	"golang.org/x/sys/unix"
)

// Into writes the tensor's values to dst in another place's number format, a matrix with
// its axes swapped where transpose is set, and checks on the way that all are finite.
// All cores share the one pass: memory is what bounds it.
func (t Tensor) Into(dst []byte, as DType, transpose bool) error {
	if transpose && len(t.Shape) != 2 {
		return fault.Input(t.what(), "use the file that belongs to this configuration", "shape %v is not a matrix's", t.Shape)
	}
	source := t
	if as == F32 && (t.DType == BF16 || t.DType == F16) {
		source = t.widened()
	} else if t.DType != as {
		values, err := t.Float32s()
		if err != nil {
			return err
		}
		if err := t.CheckFinite(); err != nil {
			return err
		}
		if source, err = FromFloat32s(t.Name, t.Shape, values, as); err != nil {
			return err
		}
	}
	if len(dst) != len(source.Data) {
		return fault.Input(t.what(), "use the file that belongs to this configuration", "has %d bytes where %d are expected", len(source.Data), len(dst))
	}
	var finite bool
	if transpose {
		finite = source.transpose(dst)
	} else {
		finite = source.copy(dst)
	}
	if finite {
		return nil
	}
	if err := t.CheckFinite(); err != nil { // finds the place
		return err
	}
	return fault.Input(t.what(), "use float32", "has values too large for %s", as)
}

// widened is the tensor in F32, which holds every BF16 and F16 as it is.
func (t Tensor) widened() Tensor {
	wide := t
	wide.DType, wide.Data = F32, make([]byte, 2*len(t.Data))
	shared(t.Count(), grain/4, func(from, to int) bool {
		for i := from; i < to; i++ {
			h := binary.LittleEndian.Uint16(t.Data[2*i:])
			bits := uint32(h) << 16
			if t.DType == F16 {
				bits = math.Float32bits(fromF16(h))
			}
			binary.LittleEndian.PutUint32(wide.Data[4*i:], bits)
		}
		return true
	})
	return wide
}

// grain is the number of bytes that a core takes at a time: they stay in its cache
// between the check and the copy.
const grain = 1 << 18

func (t Tensor) copy(dst []byte) (finite bool) {
	e := exponents[t.DType]
	return shared(len(dst), grain, func(from, to int) bool {
		copy(dst[from:to], t.Data[from:to])
		return e.finite(t.Data[from:to], sizes[t.DType])
	})
}

// transpose writes [rows, cols] as [cols, rows].
func (t Tensor) transpose(dst []byte) (finite bool) {
	rows, cols, size := t.Shape[0], t.Shape[1], sizes[t.DType]
	if uintptr(unsafe.Pointer(unsafe.SliceData(t.Data)))%uintptr(size) != 0 {
		t.Data = slices.Clone(t.Data) // of a file whose header has an odd length
	}
	if rows == 0 || cols == 0 {
		return true
	}
	e := exponents[t.DType]
	return shared(cols, stretch, func(from, to int) bool {
		ok := true
		for at := 0; at < rows; at += band {
			end := min(at+band, rows)
			for r := at; r < end; r++ {
				ok = e.finite(t.Data[(r*cols+from)*size:(r*cols+to)*size], size) && ok
			}
			switch size {
			case 4:
				swap[uint32](dst, t.Data, rows, cols, at, end, from, to)
			case 2:
				swap[uint16](dst, t.Data, rows, cols, at, end, from, to)
			default:
				swap[uint64](dst, t.Data, rows, cols, at, end, from, to)
			}
		}
		return ok
	})
}

// A core swaps band rows by stretch columns at a time: the values of a column then fill a
// cache line, and all lines stay in its cache until they are full.
const (
	band    = 32
	stretch = 512
)

// swap writes the columns [from, to) of the rows [at, end) as columns. src lies at a
// multiple of its values' size.
func swap[T uint16 | uint32 | uint64](dst, src []byte, rows, cols, at, end, from, to int) {
	var zero T
	size := int(unsafe.Sizeof(zero))
	out := unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(dst))), len(dst)/size)
	in := unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(src))), len(src)/size)
	for ; at+8 <= end; at += 8 {
		var r [8][]T
		for i := range r {
			r[i] = in[(at+i)*cols+from:][:to-from]
		}
		r0, r1, r2, r3, r4, r5, r6, r7 := r[0], r[1][:len(r[0])], r[2][:len(r[0])], r[3][:len(r[0])], r[4][:len(r[0])], r[5][:len(r[0])], r[6][:len(r[0])], r[7][:len(r[0])]
		to := from*rows + at
		for j := range r0 {
			line := out[to : to+8 : to+8]
			line[0], line[1], line[2], line[3] = r0[j], r1[j], r2[j], r3[j]
			line[4], line[5], line[6], line[7] = r4[j], r5[j], r6[j], r7[j]
			to += rows
		}
	}
	for ; at < end; at++ {
		for j := from; j < to; j++ {
			out[j*rows+at] = in[at*cols+j]
		}
	}
}

// shared runs work over [0, n) in pieces on all cores and tells whether all agreed.
func shared(n, piece int, work func(from, to int) bool) bool {
	pieces := (n + piece - 1) / piece
	workers := min(runtime.GOMAXPROCS(0), pieces)
	results := make([]bool, workers)
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			ok := true
			for p := pieces * w / workers; p < pieces*(w+1)/workers; p++ {
				ok = work(p*piece, min((p+1)*piece, n)) && ok
			}
			results[w] = ok
		})
	}
	wait.Wait()
	for _, ok := range results {
		if !ok {
			return false
		}
	}
	return true
}

// exponent has, in each lane of a word, the bits of a format's exponent, and what carries
// over into the sign when they all are set. The zero value knows no bad values.
type exponent struct{ mask, carry, sign uint64 }

var exponents = map[DType]exponent{
	F32:  {0x7f800000_7f800000, 0x00800000_00800000, 0x80000000_80000000},
	BF16: {0x7f80_7f80_7f80_7f80, 0x0080_0080_0080_0080, 0x8000_8000_8000_8000},
	F16:  {0x7c00_7c00_7c00_7c00, 0x0400_0400_0400_0400, 0x8000_8000_8000_8000},
	F64:  {0x7ff << 52, 1 << 52, 1 << 63},
}

// finite tells whether no value, of so many bytes, is NaN or infinite.
func (e exponent) finite(data []byte, size int) bool {
	var bad uint64
	for ; len(data) >= 32; data = data[32:] {
		bad |= binary.LittleEndian.Uint64(data)&e.mask + e.carry
		bad |= binary.LittleEndian.Uint64(data[8:])&e.mask + e.carry
		bad |= binary.LittleEndian.Uint64(data[16:])&e.mask + e.carry
		bad |= binary.LittleEndian.Uint64(data[24:])&e.mask + e.carry
	}
	if bad&e.sign != 0 {
		return false
	}
	for ; len(data) >= size; data = data[size:] {
		var word [8]byte
		copy(word[:], data[:size])
		if (binary.LittleEndian.Uint64(word[:])&e.mask+e.carry)&e.sign != 0 {
			return false
		}
	}
	return true
}

// Release gives the tensor's mapped pages back to the system, which reads them again
// from the file if need be: what was copied elsewhere is not held twice.
func (t Tensor) Release() {
	page := os.Getpagesize()
	if t.File == "" || len(t.Data) < 2*page {
		return
	}
	skip := (page - int(uintptr(unsafe.Pointer(unsafe.SliceData(t.Data)))%uintptr(page))) % page
	if whole := (len(t.Data) - skip) / page * page; whole > 0 {
		_ = unix.Madvise(t.Data[skip:skip+whole], unix.MADV_DONTNEED)
	}
}
