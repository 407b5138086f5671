package engine

import (
	"sync"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// lateWeights makes the gradient of a product wait for what comes from above before it turns
// a bfloat16 weight into f32, as XLA must for a product on a CPU. go-xla sees to that in
// forward products; the gradient's copies depend on nothing, so the engine may make those of
// all layers at once: the whole model in f32.
var lateWeights = sync.OnceFunc(func() {
	plain := VJPRegistration[NodeTypeDotGeneral]
	VJPRegistration[NodeTypeDotGeneral] = func(node *Node, above []*Node, shape shapes.Shape) []*Node {
		inputs, waiting := append([]*Node{}, node.Inputs()...), false
		for i, x := range inputs {
			if x.Type() == NodeTypeParameter && x.DType() == dtypes.BFloat16 {
				inputs[i], waiting = SchedulingBarrier(x, above[0]), true
			}
		}
		if waiting {
			node = node.CloneWithInputs(inputs...)
		}
		return plain(node, above, shape)
	}
})
