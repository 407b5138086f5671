package generate

import (
	"alphalora/internal/engine"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// Emit returns the program that decodes a chunk of tokens greedily, of so many rows with
// that many slots in the cache, in StableHLO as the model's engine would be given it.
// Nothing runs: weights may be those of [model.NewShapes].
func (g *Generator) Emit(rows, slots int) (string, error) {
	exec, err := g.graph(kernel{name: "decode"}, g.decodeGraph(features{}))
	if err != nil {
		return "", err
	}
	number := shapes.Make(dtypes.Int32)
	each := func(dtype dtypes.DType, more ...int) shapes.Shape {
		return shapes.Make(dtype, append([]int{rows}, more...)...)
	}
	dims := g.model.Shapes()
	if g.adapter != nil {
		dims = append(dims, g.adapter.Owned().Shapes()...)
	}
	dims = append(dims, number, each(dtypes.Bool), each(dtypes.Int32, 1), each(dtypes.Int32), number, number, number, shapes.Make(dtypes.Int32, 1))
	for range 2 * g.model.Layers {
		dims = append(dims, each(g.model.Tensors[0].DType(), g.model.KVHeads, slots, g.model.HeadDim))
	}
	return engine.Emit(func() {
		if _, err := exec.Compile(dims...); err != nil {
			panic(err)
		}
	})
}
