package model_test

import (
	"testing"

	"alphalora/internal/engine"
	"alphalora/model"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"
)

// packable are decoders whose positions matter in different ways: plain, a window
// shorter than the texts beside layers without, and a rotation that depends on the length.
func packable() map[string]model.Description {
	plain := model.Description{Family: "llama", Vocabulary: 40, Hidden: 16, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 4,
		Intermediate: 24, Context: 64, NormEps: 1e-6, EmbedScale: 1, AttentionScale: 0.5, Rope: model.PlainRope(4, 10000), Activation: model.SiLU, Tied: true}
	window := plain
	window.Windows = []int{3, 0}
	local := model.PlainRope(4, 100)
	window.LocalRope = &local
	long := plain
	long.Rope.Long, long.Rope.Border = []float32{0.3, 0.01}, 6 // between the lengths of the texts
	return map[string]model.Description{"plain": plain, "windows": window, "rotation by length": long}
}

// texts of 7, 5, 1 and 6 tokens.
func texts() [][]int32 {
	lists := make([][]int32, 4)
	for i, n := range []int{7, 5, 1, 6} {
		for j := range n {
			lists[i] = append(lists[i], int32((i*11+j*j*3+5*j+1)%40))
		}
	}
	return lists
}

// logitsOf runs rows of ids [B, T]; segments may be nil.
func logitsOf(t *testing.T, m *model.Model, ids, lengths, segments *tensors.Tensor) []float32 {
	t.Helper()
	exec, err := NewExec(m.Engine.Backend, func(inputs []*Node) *Node {
		d := m.Decoder(nil)
		d.Weights, inputs = m.Nodes(inputs)
		d.Lengths = inputs[1]
		if segments != nil {
			d.Segments = inputs[2]
		}
		return d.Logits(d.Forward(inputs[0], nil))
	})
	require.NoError(t, err)
	defer exec.Finalize()
	var args []any
	for _, w := range m.Tensors {
		args = append(args, w)
	}
	args = append(args, ids, lengths)
	if segments != nil {
		args = append(args, segments)
	}
	out, err := engine.Try1(func() []*tensors.Tensor { return exec.MustCall(args...) })
	require.NoError(t, err)
	values, err := tensors.CopyFlatData[float32](out[0])
	require.NoError(t, err)
	return values
}

func row(values []int32) *tensors.Tensor {
	return tensors.FromFlatDataAndDimensions(values, 1, len(values))
}

// A packed text has the logits that it has alone, whatever stands before it in its row.
func TestPackedTextsDoNotSeeEachOther(t *testing.T) {
	eng, err := engine.Open("")
	require.NoError(t, err)
	for name, d := range packable() {
		t.Run(name, func(t *testing.T) {
			m, err := model.NewRandom(eng, d, "float32", 5)
			require.NoError(t, err)
			packed, segments := make([]int32, 24), make([]int32, 24)
			at := 0
			for i, ids := range texts() {
				for _, id := range ids {
					packed[at], segments[at] = id, int32(i+1)
					at++
				}
			}
			length := tensors.FromValue([]int32{int32(at)})
			together := logitsOf(t, m, row(packed), length, row(segments))
			leaking := logitsOf(t, m, row(packed), length, nil)
			from := 0
			for i, ids := range texts() {
				alone := logitsOf(t, m, row(ids), tensors.FromValue([]int32{int32(len(ids))}), nil)
				here := together[from : from+len(alone)]
				require.InDeltaSlice(t, alone, here, 1e-5, "text %d", i+1)
				if i > 0 {
					require.Greater(t, furthest(alone, leaking[from:from+len(alone)]), 1e-3, "a row without segments lets text %d see the others", i+1)
				}
				from += len(alone)
			}
		})
	}
}

func furthest(a, b []float32) (most float64) {
	for i := range a {
		most = max(most, float64(a[i]-b[i]), float64(b[i]-a[i]))
	}
	return most
}
