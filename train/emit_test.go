package train

import (
	"regexp"
	"testing"

	"alphalora/internal/engine"
	"alphalora/model"
	"alphalora/model/quant"
	"alphalora/moelora"

	"github.com/stretchr/testify/require"
)

// products finds the number formats of both factors of each product in a program.
var products = regexp.MustCompile(`(?s)"stablehlo\.dot_general".*?\} : \(tensor<(?:\d+x)*(\w+)>, tensor<(?:\d+x)*(\w+)>\)`)

// TestStepForAGPUMultipliesIn16Bits holds forward and backward products of a bfloat16 step,
// as xla:cuda would get it, to bfloat16: factors that are made f32 first are copies of
// weights, and products without tensor cores.
func TestStepForAGPUMultipliesIn16Bits(t *testing.T) {
	eng, err := engine.OpenWithoutGPU() // stays open, as programs that were cut off never end
	if err != nil {
		t.Skipf("skipped: %s", err)
	}
	d := model.Description{Family: "llama", Vocabulary: 40, Hidden: 32, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 8,
		Intermediate: 96, Context: 64, NormEps: 1e-6, EmbedScale: 1, AttentionScale: 0.35, Rope: model.PlainRope(8, 10000), Activation: model.SiLU}
	m, err := model.NewShapes(eng, d, "bfloat16", quant.None)
	require.NoError(t, err)
	for _, kind := range moelora.Kinds() {
		if kind.Magnitude {
			continue // the lengths of rows are computed in f32 on purpose
		}
		experts := []int{1, 3}
		if kind.Single {
			experts = []int{1, 1}
		}
		for _, again := range []bool{false, true} {
			a, err := moelora.New(m, moelora.Shape{Kind: kind, Rank: 2, Alpha: 4, Experts: experts, TopK: kind.TopK(experts), Targets: model.Sites()}, 2)
			require.NoError(t, err)
			program, err := Emit(m, a, 2, 16, Options{Dropout: 0.1, Balance: 0.01, Rematerialise: again})
			require.NoError(t, err)
			found := products.FindAllStringSubmatch(program, -1)
			require.Greater(t, len(found), 3*d.Layers*len(model.Sites()), kind.Name)
			for _, p := range found {
				require.Equal(t, []string{"bf16", "bf16"}, p[1:], "%s: %s", kind.Name, p[0])
			}
		}
	}
}
