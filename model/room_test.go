package model

import (
	"testing"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/model/quant"

	"github.com/stretchr/testify/require"
)

func TestWeightsThatDoNotFitAreRefusedBeforeTheyAreLoaded(t *testing.T) {
	d := Description{Vocabulary: 32000, Hidden: 4096, Layers: 32, Heads: 32, KVHeads: 8, HeadDim: 128, Intermediate: 14336}
	eng := &engine.Engine{Name: engine.CUDA, GPU: &engine.GPU{Name: "NVIDIA H100", Total: 80e9, Free: 80e9}}
	require.NoError(t, room(eng, d, "bfloat16", quant.None), "14.5 GB of 80")
	eng.GPU.Free, eng.GPU.Users = 10e9, []string{"python (process 77, 70.0 GB)"}
	err := room(eng, d, "bfloat16", quant.None)
	require.ErrorContains(t, err, "are 14.5 GB, and GPU 0 (NVIDIA H100) has 9.2 GB free for them; it is used by python (process 77, 70.0 GB)")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	require.ErrorContains(t, err, "(take a smaller model; end those processes, or name another GPU in CUDA_VISIBLE_DEVICES; in bfloat16 with model_quant int8 they are 7.5 GB; in bfloat16 with model_quant nf4 they are ")
	wide := room(&engine.Engine{GPU: &engine.GPU{Free: 20e9}}, d, "float32", quant.None)
	require.ErrorContains(t, wide, "in bfloat16 with model_quant none they are 14.5 GB")
	eng.GPU.Free, eng.Devices = 10e9, engine.Devices{Count: 2, Divided: true}
	require.NoError(t, room(eng, d, "bfloat16", quant.None), "each device holds a half")
	require.NoError(t, room(&engine.Engine{Name: engine.CPU}, d, "float32", quant.None), "nothing is known")
}

func TestFlashIsRefusedWhereItsKernelCannotStandIn(t *testing.T) {
	cpu := testModel(t)
	require.Contains(t, cpu.FlashRefusal(16, false), "it is xla:cuda's, not")
	gpu := *cpu
	gpu.Engine = &engine.Engine{Name: engine.CUDA}
	require.Contains(t, gpu.FlashRefusal(16, false), "not Float32")
	require.Contains(t, gpu.FlashRefusal(16, true), "packed rows")
	gpu.Windows = []int{0, 8}
	require.Contains(t, gpu.FlashRefusal(16, false), "layer 1 sees a window of 8 tokens, and rows have up to 16")
	require.NotContains(t, gpu.FlashRefusal(8, false), "window")
	gpu.Engine.Devices.Count = 4
	require.Contains(t, gpu.FlashRefusal(8, false), "over 4 devices")
}

func testModel(t *testing.T) *Model {
	t.Helper()
	eng, err := engine.Open("go")
	require.NoError(t, err)
	t.Cleanup(eng.Close)
	d := Description{Family: "llama", Vocabulary: 16, Hidden: 8, Layers: 2, Heads: 1, KVHeads: 1, HeadDim: 8, Intermediate: 16,
		NormEps: 1e-5, EmbedScale: 1, Activation: SiLU, AttentionScale: 1, Rope: Rope{Inverse: []float32{1, 1, 1, 1}, Scale: 1}}
	m, err := NewRandom(eng, d, "float32", 1)
	require.NoError(t, err)
	t.Cleanup(m.Free)
	return m
}
