package generate_test

import (
	"math"
	"path/filepath"
	"slices"
	"testing"

	"alphalora/internal/engine"
	"alphalora/internal/testkit"
	"alphalora/model"
	"alphalora/model/generate"
	"alphalora/model/weights"
	"alphalora/moelora"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"
)

// subject is a model, and its adapter where it has one, with numbers that hold for it.
type subject struct {
	model   *model.Model
	adapter *moelora.Adapter
	values  *weights.Set
}

func openSubject(t *testing.T, dir, values, dtype string) subject {
	eng, err := engine.Open("")
	require.NoError(t, err)
	m, err := model.Load(t.Context(), eng, dir, dtype)
	require.NoError(t, err)
	set, err := weights.OpenFile(values)
	require.NoError(t, err)
	t.Cleanup(func() { m.Free(); _ = set.Close() })
	return subject{model: m, values: set}
}

// references runs a test on each of the models with numbers of the released code.
func references(t *testing.T, test func(t *testing.T, s subject)) {
	for _, family := range []string{"llama", "mistral", "gemma"} {
		t.Run(family, func(t *testing.T) {
			dir := testkit.Shared(t, "reference", family)
			s := openSubject(t, dir, filepath.Join(dir, "reference.safetensors"), "float32")
			var err error
			s.adapter, err = moelora.Load(filepath.Join(dir, "adapter"), s.model, 0)
			require.NoError(t, err)
			test(t, s)
		})
	}
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

// tolerance is the absolute error of a logit that counts as equal, in float32.
func (s subject) tolerance() float64 {
	if s.model.NormOffset == 1 { // Gemma's
		return 1e-3
	}
	return 1e-4
}

// logits runs rows [B, T] with left padding [B] through d, a description of the model's
// tensors, and returns [B·T·V] values.
func (s subject) logits(t *testing.T, d model.Description, rows [][]int32, pads []int32) []float32 {
	exec, err := NewExec(s.model.Engine.Backend, func(inputs []*Node) *Node {
		decoder := &model.Decoder{Description: d, InOut: s.model.InOut}
		var rest []*Node
		decoder.Weights, rest = s.model.Nodes(inputs)
		if s.adapter != nil {
			var params map[string]*Node
			params, rest = s.adapter.Owned().Nodes(rest)
			decoder.Delta = s.adapter.Attach(params)
		}
		return decoder.Logits(decoder.Forward(rest[0], rest[1]))
	})
	require.NoError(t, err)
	defer exec.Finalize()
	var args []any
	for _, tensor := range s.model.Tensors {
		args = append(args, tensor)
	}
	if s.adapter != nil {
		for _, tensor := range s.adapter.Owned().Tensors {
			args = append(args, tensor)
		}
	}
	args = append(args, tensors.FromFlatDataAndDimensions(slices.Concat(rows...), len(rows), len(rows[0])), tensors.FromFlatDataAndDimensions(pads, len(pads)))
	out, err := engine.Try1(func() *tensors.Tensor { return exec.MustCall(args...)[0] })
	require.NoError(t, err)
	values, err := tensors.CopyFlatData[float32](out)
	require.NoError(t, err)
	return values
}

// padded reads the left-padded batch: whole rows, their padding and their prompts.
func (s subject) padded(t *testing.T) (rows [][]int32, pads []int32, prompts [][]int32) {
	rows = s.ints(t, "padded.input_ids")
	for i, mask := range s.ints(t, "padded.attention_mask") {
		start := slices.Index(mask, 1)
		pads, prompts = append(pads, int32(start)), append(prompts, rows[i][start:])
	}
	return rows, pads, prompts
}

// furthest is the largest difference of two lists where real is true.
func furthest(a, b []float32, real func(i int) bool) float64 {
	far := 0.0
	for i := range a {
		if real == nil || real(i) {
			far = max(far, math.Abs(float64(a[i]-b[i])))
		}
	}
	return far
}

// requirePadded holds the logits of the left-padded batch where tokens are real.
func (s subject) requirePadded(t *testing.T, want []float32, tolerance float64) {
	rows, pads, _ := s.padded(t)
	got, length := s.logits(t, s.model.Description, rows, pads), len(rows[0])
	require.Len(t, got, len(want))
	require.LessOrEqual(t, furthest(got, want, func(i int) bool {
		token := i / s.model.Vocabulary
		return token%length >= int(pads[token/length])
	}), tolerance, "padded.logits")
}

func (s subject) requireClose(t *testing.T, want []float32, got *tensors.Tensor, what string) {
	values, err := tensors.CopyFlatData[float32](got)
	require.NoError(t, err)
	require.Len(t, values, len(want), what)
	require.LessOrEqual(t, furthest(values, want, nil), s.tolerance(), what)
}

// TestReferenceLogits holds the base's and the adapter's scores, padded too, and every
// router's.
func TestReferenceLogits(t *testing.T) {
	references(t, func(t *testing.T, s subject) {
		base, err := generate.New(s.model, nil, 1)
		require.NoError(t, err)
		defer base.Close()
		adapted, err := generate.New(s.model, s.adapter, 1)
		require.NoError(t, err)
		defer adapted.Close()
		wantBase, want := s.floats(t, "base_logits"), s.floats(t, "logits")
		routers := 0
		for row, sequence := range s.ints(t, "input_ids") {
			n := len(sequence) * s.model.Vocabulary
			l, err := base.Logits(sequence)
			require.NoError(t, err)
			s.requireClose(t, wantBase[row*n:(row+1)*n], l.Vocabulary, "base logits")
			require.Empty(t, l.Routers)
			l, err = adapted.Logits(sequence)
			require.NoError(t, err)
			s.requireClose(t, want[row*n:(row+1)*n], l.Vocabulary, "logits")
			for name, tensor := range l.Routers {
				routers++
				s.requireClose(t, s.routerLogits(t, name, row, len(sequence)), tensor, name)
			}
		}
		require.Equal(t, 3*3*7, routers, "three rows, three layers that choose, seven projections")
		s.requirePadded(t, s.floats(t, "padded.logits"), s.tolerance())
	})
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
	references(t, func(t *testing.T, s subject) {
		_, _, prompts := s.padded(t)
		require.NotEqual(t, len(prompts[0]), len(prompts[1]), "the rows differ in length")
		for _, rows := range []int{1, 8} {
			g, err := generate.New(s.model, s.adapter, rows)
			require.NoError(t, err)
			outputs, err := g.Greedy(t.Context(), prompts, 12, nil, nil)
			require.NoError(t, err)
			for i, want := range s.ints(t, "padded.greedy") {
				require.Equal(t, want, outputs[i].IDs, "row %d in batches of %d", i, rows)
				require.Equal(t, "length", outputs[i].Finish)
			}
			g.Close()
		}
	})
}
