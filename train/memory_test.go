package train_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/engine"
	"alphalora/model"
	"alphalora/moelora"
	"alphalora/train"
)

// The widths of the measured models, without the layers.
const (
	llama   = `"model_type":"llama","vocab_size":32000,"hidden_size":4096,"intermediate_size":11008,"num_attention_heads":32`
	mistral = `"model_type":"mistral","vocab_size":32000,"hidden_size":4096,"intermediate_size":14336,"num_attention_heads":32,"num_key_value_heads":8`
	gemma   = `"model_type":"gemma","vocab_size":256000,"hidden_size":3072,"intermediate_size":24576,"num_attention_heads":16,"num_key_value_heads":16,"head_dim":256`
)

// TestEstimateForAGPU holds the estimate of what lies beside weights and variables against the
// temporary memory that XLA's GPU compiler lays out for an H100 (`alphalora bench train
// --stablehlo F`, bench/gpu_compile.py F; docs/gpu.md has the flags).
func TestEstimateForAGPU(t *testing.T) {
	for _, c := range []struct {
		shape                string
		layers, rows, length int
		dtype                string
		recompute, flash     bool
		temporary            float64
	}{
		{mistral, 2, 16, 256, "bfloat16", false, true, 2299192904},
		{mistral, 4, 16, 256, "bfloat16", false, true, 4464426072},
		{mistral, 2, 16, 256, "bfloat16", true, true, 1268508232},
		{mistral, 4, 16, 256, "bfloat16", true, true, 1359284056},
		{mistral, 8, 16, 256, "bfloat16", true, true, 1517615000},
		{mistral, 2, 16, 256, "bfloat16", false, false, 2468012616},
		{mistral, 2, 16, 256, "bfloat16", true, false, 1353441352},
		{mistral, 2, 8, 1024, "bfloat16", false, true, 4569451912},
		{mistral, 2, 8, 1024, "bfloat16", true, true, 2542881416},
		{mistral, 4, 8, 1024, "bfloat16", true, true, 2721053832},
		{mistral, 2, 8, 1024, "bfloat16", true, false, 3524347016},
		{llama, 2, 8, 1024, "bfloat16", false, true, 3883597448},
		{llama, 3, 8, 1024, "bfloat16", true, true, 2259940744},
		{gemma, 2, 16, 256, "bfloat16", false, true, 3276292360},
		{gemma, 2, 16, 256, "bfloat16", true, true, 1791061512},
		{mistral, 2, 16, 256, "float32", false, false, 4932301640},
		{mistral, 2, 16, 256, "float32", true, false, 2706320456},
	} {
		d, err := model.ParseDescription("", []byte("{"+c.shape+`,"num_hidden_layers":`+string(rune('0'+c.layers))+"}"))
		require.NoError(t, err)
		experts := make([]int, c.layers)
		for i := range experts {
			experts[i] = 5
		}
		shape := moelora.Shape{Kind: moelora.MoELoRA, Rank: 8, Alpha: 16, Experts: experts, TopK: moelora.DefaultTopK(experts), Targets: model.Sites()}
		m := train.Estimate(d, &shape, train.Size{DType: c.dtype, Backend: engine.CUDA, Rows: c.rows, Length: c.length, Recompute: c.recompute, Flash: c.flash})
		estimated := float64(m.Activations + m.Scores)
		t.Logf("%d layers, %d × %d, %s, again %t, flash %t: %.3f GB, estimated %.3f, %+.0f %%", c.layers, c.rows, c.length, c.dtype, c.recompute, c.flash,
			c.temporary/1e9, estimated/1e9, 100*(estimated/c.temporary-1))
		require.Greater(t, estimated, c.temporary)
		require.Less(t, estimated, 1.4*c.temporary)
	}
}
