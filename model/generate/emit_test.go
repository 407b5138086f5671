package generate

import (
	"regexp"
	"strings"
	"testing"

	"alphalora/internal/engine"
	"alphalora/model"
	"alphalora/model/quant"

	"github.com/stretchr/testify/require"
)

// TestDecodingForAGPU holds what xla:cuda would get for decoding: one loop, whose cache is
// updated in place, and products of bfloat16 alone, over weights stored whole or in few bits.
func TestDecodingForAGPU(t *testing.T) {
	eng, err := engine.OpenWithoutGPU() // stays open, as programs that were cut off never end
	if err != nil {
		t.Skipf("skipped: %s", err)
	}
	d := model.Description{Family: "llama", Vocabulary: 40, Hidden: 32, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 8,
		Intermediate: 96, Context: 64, NormEps: 1e-6, EmbedScale: 1, AttentionScale: 0.35, Rope: model.PlainRope(8, 10000), Activation: model.SiLU}
	for _, kind := range []quant.Kind{quant.None, quant.Int8, quant.FourBit} {
		m, err := model.NewShapes(eng, d, "bfloat16", kind)
		require.NoError(t, err)
		g, err := New(m, nil, 4)
		require.NoError(t, err)
		program, err := g.Emit(4, 24)
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(program, `"stablehlo.while"`))
		require.Equal(t, 2*d.Layers, strings.Count(program, `"stablehlo.dynamic_update_slice"`))
		factors := regexp.MustCompile(`(?s)"stablehlo\.dot_general".*?\} : \(tensor<(?:\d+x)*(\w+)>, tensor<(?:\d+x)*(\w+)>\)`).FindAllStringSubmatch(program, -1)
		require.GreaterOrEqual(t, len(factors), 9*d.Layers+1)
		for _, f := range factors {
			require.Equal(t, []string{"bf16", "bf16"}, f[1:], "%s: %s", kind, f[0])
		}
	}
}
