package alphalora

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/alphalora/symeig"
	"alphalora/internal/engine"
)

// TestProductsAndEigenproblemsOverlap holds that the engine makes one Gram matrix at a time,
// and that nobody waits for it who has his own: while the engine's turn is taken, a matrix
// whose products are made already is reduced on the cores.
func TestProductsAndEigenproblemsOverlap(t *testing.T) {
	e, err := engine.Open("")
	require.NoError(t, err)
	defer e.Close()
	s := &onEngine{engine: e, cores: TwoStage()}
	built, err := OnEngine(e)
	require.NoError(t, err)
	m := matrixOf(heavyTailed(48, 96, 3), 48, 96)
	if e.Name == engine.Go {
		t.Skip("skipped: the pure-Go engine makes no Gram matrices")
	}
	want, err := built.solve(m, 1, Single, &Phases{})
	require.NoError(t, err)

	// a worker that holds the engine does not keep the others' cores idle
	s.mu.Lock()
	lambda, err := s.solve(m, 1, Double, &Phases{}) // double precision needs no engine
	require.NoError(t, err)
	require.InDeltaSlice(t, want, lambda, 5e-5*want[len(want)-1])
	gram, err := symeig.Gram[float32](m, 1)
	require.NoError(t, err)
	_, err = timedEigenvalues(gram, &Phases{}) // nor do eigenvalues of a finished Gram matrix
	require.NoError(t, err)
	s.mu.Unlock()

	// many workers at once: the same eigenvalues as alone
	var group sync.WaitGroup
	got := make([][]float64, 8)
	for i := range got {
		group.Go(func() { got[i], _ = built.solve(m, 1, Single, &Phases{}) })
	}
	group.Wait()
	for _, one := range got {
		require.Equal(t, want, one)
	}
}
