package train

import (
	"testing"

	"alphalora/model"
	"alphalora/model/quant"
	"alphalora/moelora"

	"github.com/stretchr/testify/require"
)

// TestEstimateForAGPU holds the estimate against what XLA's GPU compiler laid out for an H100:
// `bench train --stablehlo`, then bench/gpu_compile.py, whose temporary bytes stand here;
// 5 experts a layer of rank 8, bfloat16. What such a step takes beside them is known:
// weights, and five values for each trained one.
func TestEstimateForAGPU(t *testing.T) {
	shapes := map[string]string{
		"mistral": `{"model_type":"mistral","vocab_size":32000,"hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8}`,
		"llama":   `{"model_type":"llama","vocab_size":32000,"hidden_size":4096,"intermediate_size":11008,"num_hidden_layers":32,"num_attention_heads":32}`,
		"gemma":   `{"model_type":"gemma","vocab_size":256000,"hidden_size":3072,"intermediate_size":24576,"num_hidden_layers":28,"num_attention_heads":16,"num_key_value_heads":16,"head_dim":256}`,
	}
	for _, c := range []struct {
		shape                string
		layers, rows, length int
		flash, again         bool
		temporary            int64
	}{
		{"mistral", 2, 16, 256, true, false, 1_846_861_648},
		{"mistral", 4, 16, 256, true, false, 3_535_110_736},
		{"mistral", 32, 16, 256, true, false, 27_000_174_440},
		{"mistral", 2, 16, 256, true, true, 1_030_544_464},
		{"mistral", 4, 16, 256, true, true, 1_098_362_960},
		{"mistral", 32, 16, 256, true, true, 2_072_112_256},
		{"mistral", 2, 8, 1024, true, false, 3_609_877_896},
		{"mistral", 4, 8, 1024, true, false, 6_984_255_880},
		{"mistral", 2, 8, 1024, true, true, 2_057_390_728},
		{"mistral", 2, 16, 256, false, false, 2_015_684_432},
		{"mistral", 4, 16, 256, false, false, 3_871_707_728},
		{"mistral", 2, 16, 256, false, true, 1_115_481_680},
		{"mistral", 4, 16, 256, false, true, 1_183_302_736},
		{"mistral", 2, 8, 1024, false, false, 5_564_425_608},
		{"mistral", 4, 8, 1024, false, false, 10_884_962_696},
		{"mistral", 2, 8, 1024, false, true, 3_038_860_424},
		{"gemma", 2, 16, 256, true, false, 2_864_679_688},
		{"gemma", 4, 16, 256, true, false, 5_528_416_264},
		{"gemma", 2, 16, 256, true, true, 1_588_152_328},
		{"llama", 2, 16, 256, true, false, 1_635_881_296},
		{"llama", 4, 16, 256, true, false, 3_106_051_664},
		{"llama", 2, 16, 256, true, true, 895_389_264},
	} {
		d, err := model.ParseDescription(c.shape, []byte(shapes[c.shape]))
		require.NoError(t, err)
		d.Layers, d.Windows = c.layers, d.Windows[:min(c.layers, len(d.Windows))]
		experts := make([]int, c.layers)
		for i := range experts {
			experts[i] = 5
		}
		shape := moelora.Shape{Kind: moelora.MoELoRA, Rank: 8, Alpha: 16, Experts: experts, TopK: moelora.MoELoRA.TopK(experts), Targets: model.Sites()}
		got := Estimate(d, &shape, Size{DType: "bfloat16", Backend: "xla:cuda", Rows: c.rows, Length: c.length, Recompute: c.again, Flash: c.flash})
		trained := int64(moelora.Count(d, shape).Trainable)
		want := d.Bytes(2, quant.None) + 5*4*trained + c.temporary
		t.Logf("%s %d %dx%d flash %v again %v: estimate %.2f GB, compiled %.2f GB, %+.0f %%", c.shape, c.layers, c.rows, c.length, c.flash, c.again,
			float64(got.Total())/1e9, float64(want)/1e9, 100*(float64(got.Total())/float64(want)-1))
		require.InEpsilon(t, want, got.Total(), 0.2)
	}
}
