package alphalora

import (
	"errors"
	"math"
	"slices"
	"time"
	"unsafe"

	"alphalora/alphalora/symeig"
	"alphalora/internal/fault"

	"gonum.org/v1/gonum/mat"
)

// Precision is that of the arithmetic behind a spectrum.
type Precision string

// The precisions. Single means single where that is enough for the estimator, and double
// where it is not: see the package comment.
const (
	Single Precision = "f32"
	Double Precision = "f64"
)

// ParsePrecision returns the precision of that name.
func ParsePrecision(name string) (Precision, error) {
	switch p := Precision(name); p {
	case Single, Double:
		return p, nil
	}
	return "", fault.Input("precision "+name, "use f32 or f64", "unknown precision")
}

// epsilon is the unit roundoff.
func (p Precision) epsilon() float64 {
	if p == Single {
		return 0x1p-23
	}
	return 0x1p-52
}

// Solver is the linear algebra behind spectra. Its functions can be called side by side.
type Solver struct {
	Name string // what it is, for people and for files
	// solve returns the eigenvalues, ascending, of the Gram matrix of scale·m over its
	// smaller side, and adds its time to phases. m's values are finite, and 1 at most
	// once scaled.
	solve func(m symeig.Matrix, scale float64, p Precision, phases *Phases) ([]float64, error)
	// bytes is the working memory of one call, at most.
	bytes func(rows, cols int, p Precision) int64
}

// TwoStage computes products and eigenvalues with package symeig, each call on one core.
func TwoStage() Solver {
	return Solver{Name: "two-stage reduction, " + symeig.Instructions(), bytes: twoStageBytes,
		solve: func(m symeig.Matrix, scale float64, p Precision, phases *Phases) ([]float64, error) {
			if p == Single {
				return gramSpectrum[float32](m, scale, phases)
			}
			return gramSpectrum[float64](m, scale, phases)
		}}
}

func gramSpectrum[T symeig.Float](m symeig.Matrix, scale float64, phases *Phases) ([]float64, error) {
	begun := time.Now()
	gram, err := symeig.Gram[T](m, scale)
	if err != nil {
		return nil, err
	}
	phases.add(&phases.Products, begun)
	return timedEigenvalues(gram, phases)
}

func timedEigenvalues[T symeig.Float](gram symeig.Symmetric[T], phases *Phases) ([]float64, error) {
	begun := time.Now()
	defer func() { phases.add(&phases.Eigenvalues, begun) }()
	return symeig.Eigenvalues(gram)
}

// twoStageBytes counts the Gram matrix, and the panels of the product or of the reduction.
func twoStageBytes(rows, cols int, p Precision) int64 {
	n, size := int64(min(rows, cols)), int64(4)
	if p == Double {
		size = 8
	}
	return size * (n*(n+32) + 800*n + 1<<17)
}

// Gonum is gonum's EigenSym in double precision, whatever precision is asked for: the
// oracle of the tests, and a fallback that depends on no C of ours. It is slow above
// 2000 rows.
func Gonum() Solver {
	return Solver{Name: "gonum EigenSym", solve: gonumSpectrum,
		bytes: func(rows, cols int, _ Precision) int64 {
			n := int64(min(rows, cols))
			return 8*int64(rows)*int64(cols) + 24*n*n
		}}
}

func gonumSpectrum(m symeig.Matrix, scale float64, _ Precision, phases *Phases) ([]float64, error) {
	begun := time.Now()
	values := m.Values()
	for i := range values {
		values[i] *= scale
	}
	var w mat.Matrix = mat.NewDense(m.Rows, m.Cols, values)
	if m.Rows > m.Cols {
		w = w.T()
	}
	var gram mat.SymDense
	gram.SymOuterK(1, w)
	phases.add(&phases.Products, begun)
	begun = time.Now()
	defer func() { phases.add(&phases.Eigenvalues, begun) }()
	var eigen mat.EigenSym
	if !eigen.Factorize(&gram, false) {
		return nil, errors.New("the symmetric eigenproblem did not converge")
	}
	return eigen.Values(nil), nil
}

// Spectrum holds the eigenvalues of WᵀW of one matrix.
type Spectrum struct {
	Lambda    []float64 // ascending; the smaller side of W in number; zero below the noise
	Rank      int       // how many are above the noise
	Precision Precision // of the arithmetic

	doubtful bool // whether single precision leaves it open if some eigenvalues are zero
}

// In single precision a true zero comes out within 4ε·λn (2.2ε at most was seen, up to a
// side of 2048). So do the smallest eigenvalues of a square matrix of full rank, by the
// Marchenko-Pastur law one in 70 of noise beside one λn 1000 times larger. Where it is more
// than one in doubtfulShare, the rank is in doubt.
const (
	zeroWithin    = 4
	doubtfulShare = 50
)

// The largest magnitudes from which spectra are computed: float32's normal range.
const (
	smallestWeight = 0x1p-126
	largestWeight  = math.MaxFloat32
)

// Eigenvalues returns the spectrum of m. A value that is NaN or infinite is an error, and so
// is a matrix whose largest magnitude is out of float32's range.
func Eigenvalues(m symeig.Matrix, solver Solver, p Precision) (Spectrum, error) {
	return timedSpectrum(m, solver, p, &Phases{})
}

func timedSpectrum(m symeig.Matrix, solver Solver, p Precision, phases *Phases) (Spectrum, error) {
	largest, bad := m.Largest()
	if bad >= 0 {
		return Spectrum{}, fault.Input("weights", "the file is damaged or its training diverged",
			"value %d of row %d is not finite; every weight must be", bad%m.Cols, bad/m.Cols)
	}
	if largest == 0 {
		return Spectrum{Lambda: make([]float64, m.Side()), Precision: p}, nil
	}
	if largest < smallestWeight || largest > largestWeight {
		return Spectrum{}, fault.Input("weights", "correct or rescale the matrix",
			"the largest magnitude is %.3g; spectra are computed from %.2g to %.2g, the range of float32", largest, smallestWeight, largestWeight)
	}
	_, exponent := math.Frexp(largest)
	lambda, err := solver.solve(m, math.Ldexp(1, -exponent), p, phases)
	if err != nil {
		return Spectrum{}, err
	}
	zeros, _ := slices.BinarySearch(lambda, zeroWithin*p.epsilon()*lambda[len(lambda)-1])
	doubtful := p == Single && zeros > len(lambda)/doubtfulShare
	rank := silence(lambda, 8*p.epsilon()*math.Sqrt(float64(max(m.Rows, m.Cols))))
	for i := range lambda {
		lambda[i] = math.Ldexp(lambda[i], 2*exponent)
	}
	return Spectrum{Lambda: lambda, Rank: rank, Precision: p, doubtful: doubtful}, nil
}

// silence sets the eigenvalues up to relative times the largest to zero and returns
// how many are left.
func silence(lambda []float64, relative float64) int {
	noise := relative * lambda[len(lambda)-1]
	rank := len(lambda)
	for i := range lambda {
		if lambda[i] > noise {
			break
		}
		lambda[i] = 0
		rank--
	}
	return rank
}

// formats are the number formats that spectra can be computed from, by their names in
// safetensors files.
var formats = map[string]symeig.Format{"F64": symeig.F64, "F32": symeig.F32, "F16": symeig.F16, "BF16": symeig.BF16}

// view makes a matrix of a file's bytes. Bytes at an odd address are copied.
func view(data []byte, dtype string, rows, cols int) (symeig.Matrix, error) {
	format, ok := formats[dtype]
	if !ok {
		return symeig.Matrix{}, fault.Input("dtype "+dtype, "save the model as F32, F16 or BF16", "is not a floating-point format that can be read")
	}
	size := format.Size()
	if rows < 1 || cols < 1 || len(data)/size/rows != cols || len(data) != rows*cols*size {
		return symeig.Matrix{}, fault.Input("matrix", "", "%d bytes for %d×%d of %s", len(data), rows, cols, dtype)
	}
	if uintptr(unsafe.Pointer(&data[0]))%uintptr(size) != 0 {
		aligned := unsafe.Slice((*byte)(unsafe.Pointer(&make([]uint64, (len(data)+7)/8)[0])), len(data))
		copy(aligned, data)
		data = aligned
	}
	return symeig.Matrix{Data: data, Format: format, Rows: rows, Cols: cols}, nil
}

// window copies rows r ≤ i < r+height and columns c ≤ j < c+width of m.
func window(m symeig.Matrix, r, c, height, width int) symeig.Matrix {
	size := m.Format.Size()
	data := make([]byte, 0, height*width*size)
	for i := r; i < r+height; i++ {
		from := (i*m.Cols + c) * size
		data = append(data, m.Data[from:from+width*size]...)
	}
	return symeig.Matrix{Data: data, Format: m.Format, Rows: height, Cols: width}
}
