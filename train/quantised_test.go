package train

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"alphalora/model"
	"alphalora/model/quant"
	"alphalora/model/weights"
	"alphalora/moelora"
	"alphalora/train/data"

	"github.com/stretchr/testify/require"
)

// apart is by how much the losses of 30 steps may differ from those over whole weights:
// two to three times what was seen (docs/quantisation.md).
var apart = map[quant.Kind]float64{quant.Int8: 0.03, quant.FourBit: 0.3}

// TestQuantisedCurves holds 30 steps over a quantised base against those over f32.
func TestQuantisedCurves(t *testing.T) {
	for _, family := range []string{"llama"} {
		whole := curveOf(t, openReference(t, family))
		short := curveOf(t, openQuantised(t, family, "bfloat16", quant.None))
		t.Logf("%s: f32 %.4f to %.4f; bf16 is at most %.5f off", family, whole[0], whole[29], furthestOf(whole, short))
		for kind, limit := range apart {
			got := curveOf(t, openQuantised(t, family, "float32", kind))
			off := furthestOf(whole, got)
			t.Logf("%s: %s is at most %.5f off", family, kind, off)
			require.LessOrEqual(t, off, limit)
			require.Greater(t, off, 0.0, "it is another model")
		}
	}
}

func furthestOf(a, b []float64) (most float64) {
	for i := range a {
		most = max(most, math.Abs(a[i]-b[i]))
	}
	return most
}

// curveOf is the losses of the reference's steps.
func curveOf(t *testing.T, ref reference) []float64 {
	var curve struct {
		Steps        int
		Eps          float64
		LearningRate float64 `json:"learning_rate"`
		Warmup       int     `json:"warmup_steps"`
	}
	raw, err := os.ReadFile(filepath.Join(ref.dir, "curve.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &curve))
	set, err := weights.OpenFile(filepath.Join(ref.dir, "curve.safetensors"))
	require.NoError(t, err)
	defer func() { _ = set.Close() }()
	ref.adapter.ZeroB()
	st, err := newStepper(ref.model, ref.adapter, settings{maxGradNorm: 1, optimizer: AdamW{Beta1: 0.9, Beta2: 0.999, Epsilon: curve.Eps}})
	require.NoError(t, err)
	defer st.close()
	schedule := Schedule{Kind: "linear", Peak: curve.LearningRate, Warmup: curve.Warmup, Total: curve.Steps}
	losses := make([]float64, curve.Steps)
	for step := range losses {
		r, err := st.step(step+1, []data.Batch{rows(t, set, "input_ids", "input_ids", step)}, schedule.Rate(step))
		require.NoError(t, err)
		losses[step] = r.loss
	}
	return losses
}

// TestQuantisedRunsGoOn: a run over a quantised base goes on bit for bit, and over no other.
func TestQuantisedRunsGoOn(t *testing.T) {
	whole, shape := tiny(t)
	dir := t.TempDir()
	run := func(kind quant.Kind, change func(o *Options)) error {
		m, err := model.NewRandomQuantised(whole.Engine, whole.Description, "float32", 5, kind)
		require.NoError(t, err)
		a, err := moelora.New(m, shape.Shape, 6)
		require.NoError(t, err)
		samples := data.List{{IDs: []int32{1, 2, 3, 4, 5}}, {IDs: []int32{7, 8, 9}}, {IDs: []int32{4, 39, 6, 11}}}
		b, err := data.NewBatcher(samples, data.Plan{Batch: 3, Micro: 3})
		require.NoError(t, err)
		o := Options{Output: dir, Schedule: Schedule{Kind: "constant", Peak: 1e-2, Total: 4}, Optimizer: quick().optimizer, Seed: 4,
			Checkpoints: Checkpoints{Dir: filepath.Join(dir, "checkpoints"), Every: 1, Keep: 4}}
		change(&o)
		return Run(t.Context(), m, a, b, o)
	}
	require.NoError(t, run(quant.FourBit, func(*Options) {}))
	want, err := ReadMetrics(dir)
	require.NoError(t, err)
	back := func(o *Options) { o.Checkpoints.Resume, o.Checkpoints.From = true, "step-000002" }
	for _, kind := range []quant.Kind{quant.None, quant.Int8} {
		require.ErrorContains(t, run(kind, back), `is of a base with model_quant "nf4/1"`)
	}
	require.NoError(t, run(quant.FourBit, back))
	got, err := ReadMetrics(dir)
	require.NoError(t, err)
	require.Len(t, got, 4)
	for i := range want {
		require.Equal(t, want[i].Loss, got[i].Loss)
		require.Equal(t, want[i].GradNorm, got[i].GradNorm)
	}
}
