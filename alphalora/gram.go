package alphalora

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
	"gonum.org/v1/gonum/blas/blas64"
)

// The Gram matrix is summed over panels of panelDepth rows of the longer side, so
// that no second copy of W in double precision is needed, and computed in strips of
// stripWidth, so that only little of the lower triangle is.
const (
	panelDepth = 512
	stripWidth = 256
)

func gramFloat64(w []float32, rows, cols int) ([]float64, error) {
	return gram(w, rows, cols, func(p []float64, depth, n, from, to int, g []float64) {
		blas64.Gemm(blas.Trans, blas.NoTrans, 1,
			blas64.General{Rows: depth, Cols: to - from, Stride: n, Data: p[from:]},
			blas64.General{Rows: depth, Cols: n - from, Stride: n, Data: p[from:]},
			1, blas64.General{Rows: to - from, Cols: n - from, Stride: n, Data: g[from*n+from:]})
	}), nil
}

func gramFloat32(w []float32, rows, cols int) ([]float64, error) {
	g := gram(w, rows, cols, func(p []float32, depth, n, from, to int, g []float32) {
		blas32.Gemm(blas.Trans, blas.NoTrans, 1,
			blas32.General{Rows: depth, Cols: to - from, Stride: n, Data: p[from:]},
			blas32.General{Rows: depth, Cols: n - from, Stride: n, Data: p[from:]},
			1, blas32.General{Rows: to - from, Cols: n - from, Stride: n, Data: g[from*n+from:]})
	})
	wide := make([]float64, len(g))
	for i, x := range g {
		wide[i] = float64(x)
	}
	return wide, nil
}

// gram adds PᵀP of every panel P [depth, n] into g [n, n], strip by strip.
// addStrip adds rows from ≤ i < to of that product, columns from and above.
func gram[T float32 | float64](w []float32, rows, cols int, addStrip func(p []T, depth, n, from, to int, g []T)) []T {
	n, m := min(rows, cols), max(rows, cols)
	g := make([]T, n*n)
	panel := make([]T, min(panelDepth, m)*n)
	for k := 0; k < m; k += panelDepth {
		depth := min(panelDepth, m-k)
		fillPanel(panel, w, rows, cols, k, depth)
		for from := 0; from < n; from += stripWidth {
			addStrip(panel[:depth*n], depth, n, from, min(from+stripWidth, n), g)
		}
	}
	return g
}

// fillPanel copies positions k ≤ position < k+depth of the longer side of w, each
// with all n of the smaller side.
func fillPanel[T float32 | float64](panel []T, w []float32, rows, cols, k, depth int) {
	if rows >= cols {
		for i, x := range w[k*cols : (k+depth)*cols] {
			panel[i] = T(x)
		}
		return
	}
	for i := range rows {
		for j, x := range w[i*cols+k : i*cols+k+depth] {
			panel[j*rows+i] = T(x)
		}
	}
}
