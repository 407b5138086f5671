package generate_test

import (
	"math"
	"path/filepath"
	"testing"

	"alphalora/internal/engine"
	"alphalora/internal/testkit"
	"alphalora/model"
	"alphalora/model/generate"
	"alphalora/model/weights"
	"alphalora/moelora"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"
)

type subject struct {
	model   *model.Model
	adapter *moelora.Adapter
	values  *weights.Set
}

func open(t *testing.T) subject {
	dir := testkit.Shared(t, "reference", "llama")
	eng, err := engine.Open("")
	require.NoError(t, err)
	m, err := model.Load(t.Context(), eng, dir, "float32")
	require.NoError(t, err)
	a, err := moelora.Load(filepath.Join(dir, "adapter"), m, 0)
	require.NoError(t, err)
	set, err := weights.OpenFile(filepath.Join(dir, "reference.safetensors"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = set.Close() })
	return subject{m, a, set}
}

func (s subject) ints(t *testing.T, name string) [][]int32 {
	tensor, ok := s.values.Get(name)
	require.True(t, ok, name)
	flat, err := tensor.Int64s()
	require.NoError(t, err)
	rows := make([][]int32, tensor.Shape[0])
	for i := range rows {
		for _, v := range flat[i*tensor.Shape[1] : (i+1)*tensor.Shape[1]] {
			rows[i] = append(rows[i], int32(v))
		}
	}
	return rows
}

func (s subject) floats(t *testing.T, name string) []float32 {
	tensor, ok := s.values.Get(name)
	require.True(t, ok, name)
	v, err := tensor.Float32s()
	require.NoError(t, err)
	return v
}

func requireClose(t *testing.T, want []float32, got *tensors.Tensor, tolerance float64, what string) {
	values, err := tensors.CopyFlatData[float32](got)
	require.NoError(t, err)
	require.Len(t, values, len(want), what)
	for i, v := range values {
		require.LessOrEqual(t, math.Abs(float64(v-want[i])), tolerance, "%s: value %d", what, i)
	}
}

// TestReferenceLogits holds the base's and the adapter's scores, and every router's.
func TestReferenceLogits(t *testing.T) {
	s := open(t)
	ids := s.ints(t, "input_ids")
	base, err := generate.New(s.model, nil, 1)
	require.NoError(t, err)
	defer base.Close()
	adapted, err := generate.New(s.model, s.adapter, 1)
	require.NoError(t, err)
	defer adapted.Close()
	wantBase, want := s.floats(t, "base_logits"), s.floats(t, "logits")
	routers := 0
	for row, sequence := range ids {
		n := len(sequence) * s.model.Vocabulary
		l, err := base.Logits(sequence)
		require.NoError(t, err)
		requireClose(t, wantBase[row*n:(row+1)*n], l.Vocabulary, 1e-4, "base logits")
		require.Empty(t, l.Routers)
		l, err = adapted.Logits(sequence)
		require.NoError(t, err)
		requireClose(t, want[row*n:(row+1)*n], l.Vocabulary, 1e-4, "logits")
		for name, tensor := range l.Routers {
			routers++
			requireClose(t, s.routerLogits(t, name, row, len(sequence)), tensor, 1e-4, name)
		}
	}
	require.Equal(t, 3*3*7, routers, "three rows, three layers that choose, seven projections")
}

// stored is the order in which the reference holds the projections of a layer along the
// token axis, found by comparing: that of the released code's modules, not of its README.
var stored = []model.Site{model.Q, model.V, model.K, model.O, model.Up, model.Gate, model.Down}

// routerLogits cuts one row of one projection out of the reference.
func (s subject) routerLogits(t *testing.T, name string, row, tokens int) []float32 {
	for layer, experts := range s.adapter.Experts {
		for i, site := range stored {
			if name == string(rune('0'+layer))+"."+site.String() {
				all := s.floats(t, "router_logits."+string(rune('0'+layer)))
				from := (i*3 + row) * tokens * experts
				return all[from : from+tokens*experts]
			}
		}
	}
	require.Fail(t, "unknown router "+name)
	return nil
}

// TestReferenceGreedy holds the continuation of a left-padded batch, and that it does
// not depend on the batch.
func TestReferenceGreedy(t *testing.T) {
	s := open(t)
	ids, mask, want := s.ints(t, "padded.input_ids"), s.ints(t, "padded.attention_mask"), s.ints(t, "padded.greedy")
	var prompts [][]int32
	for i, row := range ids {
		start := 0
		for mask[i][start] == 0 {
			start++
		}
		prompts = append(prompts, row[start:])
	}
	require.NotEqual(t, len(prompts[0]), len(prompts[1]), "the rows differ in length")
	for _, rows := range []int{1, 3, 8} {
		g, err := generate.New(s.model, s.adapter, rows)
		require.NoError(t, err)
		outputs, err := g.Greedy(t.Context(), prompts, 12, nil, nil)
		require.NoError(t, err)
		for i, o := range outputs {
			require.Equal(t, want[i], o.IDs, "row %d in batches of %d", i, rows)
			require.Equal(t, "length", o.Finish)
		}
		g.Close()
	}
}
