package alphalora

import (
	"errors"
	"math"

	"alphalora/internal/fault"

	"gonum.org/v1/gonum/mat"
)

// Solver is the linear algebra behind a spectrum: two functions, so that either can
// be a faster one (an accelerator's product, another eigensolver).
type Solver struct {
	// Gram returns the n×n Gram matrix of w (rows×cols, row-major, finite), n the
	// smaller side: row-major, of which only the upper triangle need be filled.
	Gram func(w []float32, rows, cols int) ([]float64, error)
	// Eigenvalues returns the n eigenvalues, ascending, of the symmetric matrix in
	// the upper triangle of gram. It may overwrite gram.
	Eigenvalues func(gram []float64, n int) ([]float64, error)
	// Epsilon is the unit roundoff of the less precise of the two.
	Epsilon float64
}

// Float64 computes products and eigenvalues in double precision with gonum.
func Float64() Solver {
	return Solver{Gram: gramFloat64, Eigenvalues: eigenSym, Epsilon: 0x1p-52}
}

// Float32 computes the product in single precision, as an accelerator does, and the
// eigenvalues in double precision.
func Float32() Solver {
	return Solver{Gram: gramFloat32, Eigenvalues: eigenSym, Epsilon: 0x1p-23}
}

// SolverOf returns the solver of a precision named "f32" or "f64".
func SolverOf(precision string) (Solver, error) {
	switch precision {
	case "f64":
		return Float64(), nil
	case "f32":
		return Float32(), nil
	}
	return Solver{}, fault.Input("precision "+precision, "use f32 or f64", "unknown precision")
}

// Spectrum holds the eigenvalues of WᵀW of one matrix.
type Spectrum struct {
	Lambda []float64 // ascending; the smaller side of W in number; zero below the noise
	Rank   int       // how many are above the noise
}

// Eigenvalues returns the spectrum of w, rows×cols and row-major; the solver never
// changes w. A value that is NaN or infinite, or a length other than rows·cols, is
// an error.
func Eigenvalues(w []float32, rows, cols int, solver Solver) (Spectrum, error) {
	if rows < 1 || cols < 1 || len(w) != rows*cols {
		return Spectrum{}, fault.Input("matrix", "", "%d values for %d×%d", len(w), rows, cols)
	}
	largest, err := largestMagnitude(w)
	if err != nil {
		return Spectrum{}, err
	}
	n := min(rows, cols)
	if largest == 0 {
		return Spectrum{Lambda: make([]float64, n)}, nil
	}
	_, exponent := math.Frexp(largest)
	scaled, scale := make([]float32, len(w)), math.Ldexp(1, -exponent)
	for i, x := range w {
		scaled[i] = float32(float64(x) * scale)
	}
	gram, err := solver.Gram(scaled, rows, cols)
	if err != nil {
		return Spectrum{}, err
	}
	lambda, err := solver.Eigenvalues(gram, n)
	if err != nil {
		return Spectrum{}, err
	}
	rank := silence(lambda, 8*solver.Epsilon*math.Sqrt(float64(max(rows, cols))))
	for i := range lambda {
		lambda[i] = math.Ldexp(lambda[i], 2*exponent)
	}
	return Spectrum{Lambda: lambda, Rank: rank}, nil
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

func largestMagnitude(w []float32) (float64, error) {
	var largest float32
	for i, x := range w {
		if x != x || x > math.MaxFloat32 || x < -math.MaxFloat32 {
			return 0, fault.Input("weights", "the file is damaged or its training diverged", "value %d is %v; every weight must be finite", i, x)
		}
		largest = max(largest, x, -x)
	}
	return float64(largest), nil
}

func eigenSym(gram []float64, n int) ([]float64, error) {
	var eigen mat.EigenSym
	if !eigen.Factorize(mat.NewSymDense(n, gram), false) {
		return nil, errors.New("the symmetric eigenproblem did not converge")
	}
	return eigen.Values(nil), nil
}
