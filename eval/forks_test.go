package eval

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"

	"alphalora/internal/engine"
	"alphalora/internal/testkit"
	"alphalora/model"
	"alphalora/model/generate"
	"alphalora/moelora"
)

func TestForkLaysOutWhatIsShared(t *testing.T) {
	f := newFork(3, 2, [][]int32{{7, 8, 9, 1}, {7, 8, 9, 2, 3}, {7, 8, 9}})
	require.Equal(t, []int32{7, 8, 9, 1, 2, 3}, f.ids)
	require.Equal(t, []int32{0, 1, 2, 3, 3, 4}, f.positions)
	require.Equal(t, []int32{0, 0, 0, 1, 2, 2}, f.branches)
	require.Equal(t, 5, f.length)
	require.Equal(t, []asked{{1, 9, []int{0, 1, 2}}, {2, 1, []int{0}}, {2, 2, []int{1}}, {4, 3, []int{1}}}, f.asked)
	require.Equal(t, 3, f.prompt)
	require.Equal(t, 1, sharedStart([][]int32{{5, 6}, {5, 7}}))
	require.Equal(t, 2, sharedStart([][]int32{{5, 6}, {5, 6}}))
}

func TestCrosses(t *testing.T) {
	short, long := make([]int32, 3), make([]int32, 9)
	require.False(t, crosses(0, [][]int32{short, long}))
	require.False(t, crosses(9, [][]int32{short, long}))
	require.False(t, crosses(2, [][]int32{short, long}))
	require.True(t, crosses(8, [][]int32{short, long}))
}

// TestForksScoreAsRowsOfEveryFamily holds the scores of forks against those of whole rows,
// which share nothing, for each tiny model of the goldens: windows, two rotations, caps,
// norms and all.
func TestForksScoreAsRowsOfEveryFamily(t *testing.T) {
	eng, err := engine.Open(engine.CPU)
	if err != nil {
		t.Skip("skipped: " + err.Error())
	}
	defer eng.Close()
	goldens := filepath.Join(testkit.Root(t), "model", "testdata", "goldens")
	entries, err := os.ReadDir(goldens)
	require.NoError(t, err)
	checked := 0
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		m, err := model.Load(context.Background(), eng, filepath.Join(goldens, e.Name()), "float32")
		require.NoError(t, err)
		requireForksAsRows(t, e.Name(), m, nil)
		if checked == 0 {
			requireForksAsRows(t, e.Name()+" with experts", m, experts(t, m))
		}
		checked++
		m.Free()
	}
	require.Greater(t, checked, 5)
}

// experts is an adapter that routes, none of whose variables is zero.
func experts(t *testing.T, m *model.Model) model.Adapter {
	t.Helper()
	s := moelora.Shape{Rank: 4, Alpha: 8, Targets: model.Sites()}
	for range m.Layers {
		s.Experts, s.TopK = append(s.Experts, 3), append(s.TopK, 2)
	}
	a, err := moelora.New(m, s, 1)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	var filled []*tensors.Tensor
	for _, old := range a.Params.Tensors {
		values := make([]float32, old.Size())
		for i := range values {
			values[i] = float32(rng.NormFloat64()) * 0.2
		}
		filled = append(filled, tensors.FromFlatDataAndDimensions(values, old.Shape().Dimensions...))
	}
	require.NoError(t, a.Params.Replace(filled))
	return a
}

// requireForksAsRows scores two prompts, of which the second is shorter, with candidates of
// several lengths.
func requireForksAsRows(t *testing.T, name string, m *model.Model, adapter model.Adapter) {
	t.Helper()
	id := func(i int) int32 { return int32(3 + (i*i*31+7*i)%(m.Vocabulary-3)) }
	start := func(n int) (ids []int32) {
		for i := range n {
			ids = append(ids, id(i))
		}
		return ids
	}
	var forks []fork
	var sequences [][]int32
	scores := [][]Score{make([]Score, 3), make([]Score, 3)}
	heads := []int{40, 5}
	for p, head := range heads {
		candidates := [][]int32{append(start(head), id(90), id(91)), append(start(head), id(90), id(92), id(93), id(94)), append(start(head), id(95))}
		if crosses(m.RopeBorder(), candidates) {
			return // a rotation that changes: whole rows are what is scored
		}
		forks, sequences = append(forks, newFork(p, head, candidates)), append(sequences, candidates...)
	}
	f, err := NewForks(m, adapter)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.score(forks, scores))
	g, err := generate.New(m, adapter, 8)
	require.NoError(t, err)
	defer g.Close()
	want, err := g.LogProbs(context.Background(), sequences, nil)
	require.NoError(t, err)
	for i, s := range sequences {
		sum := 0.0
		for _, v := range want[i][heads[i/3]-1:] {
			sum += v
		}
		got := scores[i/3][i%3]
		require.Equal(t, len(s)-heads[i/3], got.Tokens)
		require.InDelta(t, sum, got.LogProb, 2e-4, fmt.Sprintf("%s: candidate %d of a prompt of %d tokens", name, i, heads[i/3]))
	}
}
