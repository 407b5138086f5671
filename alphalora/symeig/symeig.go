package symeig

// #cgo CFLAGS: -O3 -Wno-psabi
// #cgo LDFLAGS: -lm
// #include "symeig.h"
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"gonum.org/v1/gonum/lapack/gonum"
)

// Format is how a file holds numbers, little-endian.
type Format int

// The formats that can be read.
const (
	F64  Format = C.SYMEIG_F64
	F32  Format = C.SYMEIG_F32
	F16  Format = C.SYMEIG_F16
	BF16 Format = C.SYMEIG_BF16
)

// Size is the number of bytes of one value.
func (f Format) Size() int { return map[Format]int{F64: 8, F32: 4, F16: 2, BF16: 2}[f] }

// Matrix is a view of a matrix as a file holds it, row-major. Data must begin at an
// address that its format's size divides.
type Matrix struct {
	Data       []byte
	Format     Format
	Rows, Cols int
}

// check panics where Data is not what the rest says: C would read beyond it.
func (m Matrix) check() {
	size := m.Format.Size()
	if m.Rows < 1 || m.Cols < 1 || size == 0 || len(m.Data)/size/m.Rows != m.Cols || len(m.Data) != m.Rows*m.Cols*size {
		panic(fmt.Sprintf("symeig: %d bytes for %d×%d of format %d", len(m.Data), m.Rows, m.Cols, m.Format))
	}
	if uintptr(unsafe.Pointer(&m.Data[0]))%uintptr(size) != 0 {
		panic("symeig: unaligned data")
	}
}

// Side is the smaller side, which is that of the Gram matrix.
func (m Matrix) Side() int { return min(m.Rows, m.Cols) }

// Largest returns the largest magnitude, or the index of the first value that is NaN or
// infinite (else -1).
func (m Matrix) Largest() (largest float64, bad int) {
	m.check()
	var found C.double
	bad = int(C.symeig_scan(C.int(m.Format), unsafe.Pointer(&m.Data[0]), C.long(m.Rows*m.Cols), &found))
	return float64(found), bad
}

// Values returns the values in double precision.
func (m Matrix) Values() []float64 {
	m.check()
	out := make([]float64, m.Rows*m.Cols)
	C.symeig_widen(C.int(m.Format), unsafe.Pointer(&m.Data[0]), C.long(len(out)), (*C.double)(unsafe.Pointer(&out[0])))
	return out
}

// errMemory is what the C side says when it cannot allocate.
var errMemory = errors.New("there is not enough memory for the eigenvalues")

// Float is the precision of a computation.
type Float interface{ float32 | float64 }

// Symmetric is a symmetric n×n matrix, of which the lower triangle counts: row i begins
// at Data[i·Stride].
type Symmetric[T Float] struct {
	Data      []T
	N, Stride int
}

// NewSymmetric returns a zero matrix whose rows do not collide in a cache.
func NewSymmetric[T Float](n int) Symmetric[T] {
	stride := (n+15)/16*16 + 16
	return Symmetric[T]{Data: make([]T, n*stride), N: n, Stride: stride}
}

func wide[T Float]() C.int {
	var x T
	return C.int(unsafe.Sizeof(x) / 8)
}

// level is the instruction set in use; tests try the others.
var level = int(C.symeig_level())

// Instructions names the instruction set in use.
func Instructions() string { return [...]string{"portable vectors", "AVX2", "AVX-512"}[level] }

// Gram returns the Gram matrix of scale·m over its smaller side.
func Gram[T Float](m Matrix, scale float64) (Symmetric[T], error) {
	m.check()
	g := NewSymmetric[T](m.Side())
	if C.symeig_gram(C.int(level), wide[T](), C.int(m.Format), unsafe.Pointer(&m.Data[0]), C.long(m.Rows), C.long(m.Cols),
		C.double(scale), unsafe.Pointer(&g.Data[0]), C.long(g.Stride)) == 0 {
		return g, errMemory
	}
	return g, nil
}

// Eigenvalues returns all eigenvalues of s, ascending, and overwrites s.
func Eigenvalues[T Float](s Symmetric[T]) ([]float64, error) {
	if s.N < 1 || s.Stride < s.N || len(s.Data) < (s.N-1)*s.Stride+s.N {
		panic(fmt.Sprintf("symeig: %d numbers for %d×%d", len(s.Data), s.N, s.N))
	}
	d, e := make([]float64, s.N), make([]float64, s.N)
	if C.symeig_tridiagonal(C.int(level), wide[T](), C.long(s.N), unsafe.Pointer(&s.Data[0]), C.long(s.Stride),
		(*C.double)(unsafe.Pointer(&d[0])), (*C.double)(unsafe.Pointer(&e[0]))) == 0 {
		return nil, errMemory
	}
	if !(gonum.Implementation{}).Dsterf(s.N, d, e) {
		return nil, errors.New("the eigenvalues of the tridiagonal matrix did not converge")
	}
	return d, nil
}
