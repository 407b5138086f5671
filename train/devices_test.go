package train

import (
	"testing"
	"time"

	"alphalora/internal/engine"
	"alphalora/model"
	"alphalora/moelora"
	"alphalora/train/data"

	"github.com/stretchr/testify/require"
)

// tinyOn is [tiny] on some devices.
func tinyOn(t *testing.T, devices int, divided bool, full bool) (*model.Model, *moelora.Adapter) {
	eng, err := engine.Open("")
	require.NoError(t, err)
	t.Cleanup(eng.Close)
	if eng.Backend.NumDevices() < devices {
		t.Skipf("skipped: %s has no %d devices", eng.Name, devices)
	}
	require.NoError(t, eng.Use("devices", devices, divided))
	d := model.Description{Family: "llama", Vocabulary: 40, Hidden: 16, Layers: 3, Heads: 4, KVHeads: 2, HeadDim: 4,
		Intermediate: 24, Context: 64, NormEps: 1e-6, EmbedScale: 1, AttentionScale: 0.5, Rope: model.PlainRope(4, 10000), Activation: model.SiLU, Tied: true}
	m, err := model.NewRandom(eng, d, "float32", 5)
	require.NoError(t, err)
	if full {
		return m, nil
	}
	experts := []int{1, 3, 2}
	k := moelora.MoELoRA
	a, err := moelora.New(m, moelora.Shape{Kind: k, Rank: 4, Alpha: 8, Experts: experts, TopK: k.TopK(experts), Targets: model.Sites()}, 6)
	require.NoError(t, err)
	return m, a
}

func TestDevicesKeepTheCurve(t *testing.T) {
	curve := func(devices int, divided bool) (list []measured) {
		m, a := tinyOn(t, devices, divided, false)
		st, err := newStepper(m, a, quick())
		require.NoError(t, err)
		defer st.close()
		for step := 1; step <= 30; step++ {
			begun := time.Now()
			got, err := st.step(step, []data.Batch{sentence(4, 20), sentence(8, 32)}, 1e-2)
			require.NoError(t, err)
			list = append(list, got)
			if step < 4 || step == 30 {
				t.Log(devices, divided, step, time.Since(begun))
			}
		}
		return list
	}
	one := curve(1, false)
	for _, divided := range []bool{false, true} {
		many := curve(4, divided)
		worst := 0.0
		for i := range one {
			worst = max(worst, abs(one[i].loss-many[i].loss)/one[i].loss)
		}
		t.Log(divided, one[0].loss, many[0].loss, one[29].loss, many[29].loss, worst)
	}
}
func abs(x float64) float64 { return max(x, -x) }
