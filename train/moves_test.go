package train

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"alphalora/internal/engine"
	"alphalora/model"
	"alphalora/model/quant"
	"alphalora/moelora"
	"alphalora/train/data"

	"github.com/stretchr/testify/require"
)

// tiny is a random model of three layers with an adapter of 1, 3 and 2 experts.
func tiny(t *testing.T) (*model.Model, *moelora.Adapter) { return tinyOf(t, moelora.MoELoRA) }

// tinyOf is that with an adapter of some kind.
func tinyOf(t *testing.T, k moelora.Kind) (*model.Model, *moelora.Adapter) {
	return tinyStored(t, k, quant.None)
}

// tinyStored is that with the projections stored as kind says.
func tinyStored(t *testing.T, k moelora.Kind, stored quant.Kind) (*model.Model, *moelora.Adapter) {
	eng, err := engine.Open("")
	require.NoError(t, err)
	d := model.Description{Family: "llama", Vocabulary: 40, Hidden: 16, Layers: 3, Heads: 4, KVHeads: 2, HeadDim: 4,
		Intermediate: 24, Context: 64, NormEps: 1e-6, EmbedScale: 1, AttentionScale: 0.5, Rope: model.PlainRope(4, 10000), Activation: model.SiLU, Tied: true}
	m, err := model.NewRandomQuantised(eng, d, "float32", 5, stored)
	require.NoError(t, err)
	experts := []int{1, 3, 2}
	if k.Single {
		experts = []int{1, 1, 1}
	}
	a, err := moelora.New(m, moelora.Shape{Kind: k, Rank: 4, Alpha: 8, Experts: experts, TopK: k.TopK(experts), Targets: model.Sites()}, 6)
	require.NoError(t, err)
	return m, a
}

func hash(t *testing.T, p *model.Params) string {
	h := sha256.New()
	for i, name := range p.Names {
		values, err := model.Float32s(p.Tensors[i])
		require.NoError(t, err)
		require.NoError(t, binary.Write(h, binary.LittleEndian, values))
		h.Write([]byte(name))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// sentence makes one micro-batch of ragged rows.
func sentence(rows, length int) data.Batch {
	b := data.Batch{Rows: rows, Length: length}
	for r := range rows {
		b.Lengths = append(b.Lengths, int32(length-r))
		for i := range length {
			id, label := int32((r*7+i*i+3*i)%40), int32(data.Ignored)
			if i < length-r {
				label = id
				if i > 0 {
					b.Targets++
				}
			} else {
				id = 0
			}
			b.IDs, b.Labels = append(b.IDs, id), append(b.Labels, label)
		}
	}
	return b
}

func quick() settings {
	return settings{optimizer: AdamW{Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8}, maxGradNorm: 1, balance: 0.01, dropout: 0.1, seed: 3}
}

// TestEveryAdapterTensorMovesAndTheBaseDoesNot trains three steps with each kind.
func TestEveryAdapterTensorMovesAndTheBaseDoesNot(t *testing.T) {
	moved := map[string]int{"moe-lora": 7 * (2 + 6 + 1 + 4 + 1), "loramoe": 7 * (2 + 6 + 1 + 4 + 1),
		"lora": 7 * 6, "rslora": 7 * 6, "lora-plus": 7 * 6, "dora": 7 * 9, "mixlora": 7*2 + 4*2*2 + 3*2*(3+2) + 2}
	for _, k := range moelora.Kinds() {
		t.Run(k.Name, func(t *testing.T) { require.Equal(t, moved[k.Name], requireMoves(t, k)) })
	}
}

// requireMoves returns how many tensors of the adapter's file moved: all but routers
// without a choice.
func requireMoves(t *testing.T, k moelora.Kind) (moved int) {
	m, a := tinyOf(t, k)
	before, err := a.Values()
	require.NoError(t, err)
	base := hash(t, m.Params)
	st, err := newStepper(m, a, quick())
	require.NoError(t, err)
	defer st.close()
	_, err = st.step(1, []data.Batch{sentence(4, 20)}, 0)
	require.NoError(t, err)
	still, err := a.Values()
	require.NoError(t, err)
	require.Equal(t, before, still, "a learning rate of 0 moves nothing")
	for step := 2; step <= 4; step++ {
		_, err = st.step(step, []data.Batch{sentence(4, 20)}, 1e-2)
		require.NoError(t, err)
	}
	after, err := a.Values()
	require.NoError(t, err)
	for name, tensor := range after {
		if strings.Contains(name, "layers.0.") && strings.Contains(name, "router") {
			require.Equal(t, before[name].Data, tensor.Data, "%s: a single expert needs no router", name)
			continue
		}
		require.NotEqual(t, before[name].Data, tensor.Data, name)
		moved++
	}
	require.Equal(t, base, hash(t, m.Params), "the base is frozen")
	return moved
}

// TestAccumulation holds that micro-batches do not change the step.
func TestAccumulation(t *testing.T) {
	whole := sentence(4, 20)
	halves := make([]data.Batch, 2)
	for i := range halves {
		h := data.Batch{Rows: 2, Length: 20, IDs: whole.IDs[i*40 : (i+1)*40], Labels: whole.Labels[i*40 : (i+1)*40], Lengths: whole.Lengths[2*i : 2*i+2]}
		for _, n := range h.Lengths {
			h.Targets += int(n) - 1
		}
		halves[i] = h
	}
	require.Equal(t, whole.Targets, halves[0].Targets+halves[1].Targets)
	require.NotEqual(t, halves[0].Targets, halves[1].Targets, "the halves weigh differently")
	s := quick()
	s.dropout, s.balance = 0, 0
	var results [2]map[string][]float32
	var reports [2]measured
	for i, batches := range [][]data.Batch{{whole}, halves} {
		m, a := tiny(t)
		st, err := newStepper(m, a, s)
		require.NoError(t, err)
		for step := 1; step <= 2; step++ {
			reports[i], err = st.step(step, batches, 1e-3)
			require.NoError(t, err)
		}
		st.close()
		results[i] = map[string][]float32{}
		values, err := a.Values()
		require.NoError(t, err)
		for name, tensor := range values {
			results[i][name], err = tensor.Float32s()
			require.NoError(t, err)
		}
	}
	require.InDelta(t, reports[0].loss, reports[1].loss, 1e-5)
	require.InDelta(t, reports[0].norm, reports[1].norm, 1e-4*reports[0].norm)
	for name, want := range results[0] {
		require.LessOrEqual(t, distance(want, results[1][name]), 1e-4*norm(want)+1e-6, name)
	}
}

// TestFullTrainingLearns holds that every weight moves and the loss falls.
func TestFullTrainingLearns(t *testing.T) {
	m, _ := tiny(t)
	s := quick()
	s.dropout, s.balance = 0, 0
	st, err := newStepper(m, nil, s)
	require.NoError(t, err)
	defer st.close()
	before := make([][]float32, m.Len())
	for i := range before {
		before[i], err = model.Float32s(m.Tensors[i])
		require.NoError(t, err)
	}
	var first, last measured
	for step := 1; step <= 30; step++ {
		last, err = st.step(step, []data.Batch{sentence(4, 20)}, 1e-2)
		require.NoError(t, err)
		if step == 1 {
			first = last
		}
	}
	require.Less(t, last.loss, 0.5*first.loss)
	for i, name := range m.Names {
		values, err := model.Float32s(m.Tensors[i])
		require.NoError(t, err)
		require.NotEqual(t, before[i], values, name)
	}
}

// TestResumeIsExact holds that a run stopped and resumed ends as one that was not.
func TestResumeIsExact(t *testing.T) {
	var samples []data.Sample
	for i := range 12 {
		s := data.Sample{}
		for j := range 6 + i {
			s.IDs = append(s.IDs, int32((i*5+j*j)%40))
		}
		samples = append(samples, s)
	}
	run := func(dir string, total int, resume bool) (*moelora.Adapter, []Metrics) {
		m, a := tiny(t)
		b, err := data.NewBatcher(data.List(samples), data.Plan{Batch: 4, Micro: 2, Shuffle: true, Seed: 8})
		require.NoError(t, err)
		q := quick()
		err = Run(t.Context(), m, a, b, Options{Output: dir, Schedule: Schedule{Kind: "constant", Peak: 1e-3, Total: total},
			Optimizer: q.optimizer, MaxGradNorm: 1, Dropout: 0.1, Balance: 0.01, Seed: 4,
			Checkpoints: Checkpoints{Dir: dir + "/checkpoints", Every: 3, Keep: 1, Resume: resume}})
		require.NoError(t, err)
		metrics, err := ReadMetrics(dir)
		require.NoError(t, err)
		return a, metrics
	}
	straight, all := run(t.TempDir(), 8, false)
	dir := t.TempDir()
	run(dir, 7, false) // leaves a checkpoint at step 6
	resumed, rest := run(dir, 8, true)
	require.Len(t, rest, 8, "the steps before the resume stay")
	for i, m := range rest {
		want := all[i]
		want.Seconds, m.Seconds = 0, 0
		require.Equal(t, want, m)
	}
	want, err := straight.Values()
	require.NoError(t, err)
	got, err := resumed.Values()
	require.NoError(t, err)
	require.Equal(t, want, got, "bit for bit")
}
