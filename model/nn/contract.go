package nn

import (
	"strings"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
)

// Contract is the product of two arrays: it sums over the contracted axes and lays the batch
// axes side by side. The result's axes are those of the batch, the others of lhs, the
// others of rhs. Numbers of 16 bits are summed in f32.
//
// A GPU sums like that of itself, and is not asked to: where the engine is asked, its
// gradient turns both factors into f32 first. Those are copies of whole weights, and
// products without tensor cores.
func Contract(lhs *graph.Node, lhsContracted, lhsBatch []int, rhs *graph.Node, rhsContracted, rhsBatch []int) *graph.Node {
	dot := graph.Dot(lhs, rhs)
	if lhs.DType().IsHalfPrecision() && onGPU(lhs.Graph()) {
		dot = dot.WithAccumulatorDType(dtypes.InvalidDType)
	}
	return dot.General(lhsContracted, lhsBatch, rhsContracted, rhsBatch)
}

// onGPU tells whether a graph is for XLA on an NVIDIA GPU.
func onGPU(g *graph.Graph) bool {
	plugin, ok := g.Backend().(interface{ PluginName() string })
	return ok && strings.Contains(plugin.PluginName(), "cuda")
}
