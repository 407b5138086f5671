package alphalora

import (
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/alphalora/symeig"
	"alphalora/internal/engine"
)

// The engine's Gram matrices against those of the cores, in every format and orientation.
func TestEngineAgreesWithTheCores(t *testing.T) {
	e, err := engine.Open("")
	require.NoError(t, err)
	defer e.Close()
	solver, err := OnEngine(e)
	require.NoError(t, err)
	require.Contains(t, solver.Name, e.Name)
	for _, shape := range [][2]int{{1, 3}, {3, 1}, {40, 90}, {90, 41}, {64, 64}, {10, 4500}} {
		w := heavyTailed(shape[0], shape[1], 8)
		narrow := symeig.Matrix{Format: symeig.BF16, Rows: shape[0], Cols: shape[1]}
		full := matrixOf(w, shape[0], shape[1])
		for i := 0; i < len(full.Data); i += 4 {
			narrow.Data = append(narrow.Data, full.Data[i+2:i+4]...)
		}
		for _, m := range []symeig.Matrix{full, narrow} {
			for _, p := range []Precision{Single, Double} {
				want, err := Eigenvalues(m, TwoStage(), Double)
				require.NoError(t, err)
				got, err := Eigenvalues(m, solver, p)
				require.NoError(t, err)
				require.InDeltaSlice(t, want.Lambda, got.Lambda, map[Precision]float64{Single: 5e-5, Double: 1e-12}[p]*want.Lambda[len(want.Lambda)-1], shape)
			}
		}
	}
}
