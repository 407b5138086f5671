package generate

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// joinGraph puts freshly read rows into the ring. Inputs: the places of the rows [J], how
// far to turn (a scalar), the fresh cache of J rows padded on the left to T ≤ S slots, the
// ring of B rows with S slots. Output: the ring.
func (g *Generator) joinGraph(inputs []*Node) []*Node {
	at, by, caches := inputs[0], inputs[1], inputs[2:]
	half := len(caches) / 2
	outs := make([]*Node, half)
	for i, fresh := range caches[:half] {
		ring := caches[half+i]
		fresh = g.turn(growFront(fresh, ring.Shape().Dim(2)), by)
		outs[i] = g.place(ring, fresh, at)
	}
	return outs
}

// ringGraph lays a ring out anew. Inputs: the rows to take [B'], how far to turn (a
// scalar), a ring of B rows. Output: a ring of B' rows with the given slots, of which the
// last is the one to be written next; where there are fewer of them, the oldest tokens go.
func (g *Generator) ringGraph(slots int) func([]*Node) []*Node {
	return func(inputs []*Node) []*Node {
		take, by, ring := ExpandAxes(inputs[0], -1), inputs[1], inputs[2:]
		outs := make([]*Node, len(ring))
		for i, store := range ring {
			store = g.turn(Gather(store, take), by)
			if had := store.Shape().Dim(2); had > slots {
				store = SliceAxis(store, 2, AxisRangeToEnd(had-slots))
			}
			outs[i] = growFront(store, slots)
		}
		return outs
	}
}

// growFront puts zeroed slots before those of x [B, K, S, D].
func growFront(x *Node, slots int) *Node {
	shape := x.Shape().Clone()
	shape.Dimensions[2] = slots - shape.Dimensions[2]
	if shape.Dimensions[2] == 0 {
		return x
	}
	return Concatenate([]*Node{Zeros(x.Graph(), shape), x}, 2)
}

// turn moves slot (i + by) mod S to slot i: x [B, K, S, D], by a scalar in [0, S).
func (g *Generator) turn(x, by *Node) *Node {
	dims, zero := x.Shape().Dimensions, ScalarZero(x.Graph(), dtypes.Int32)
	if g.inPlace {
		return DynamicSlice(Concatenate([]*Node{x, x}, 2), []*Node{zero, zero, by, zero}, dims)
	}
	from := Add(Iota(x.Graph(), shapes.Make(dtypes.Int32, dims[2], 1), 0), BroadcastToDims(by, dims[2], 1))
	from = ModScalar(from, int32(dims[2]))
	return TransposeAllDims(Gather(TransposeAllDims(x, 2, 0, 1, 3), from), 1, 2, 0, 3)
}

// place writes rows [J, K, S, D] of fresh to the places [J] of ring [B, K, S, D].
func (g *Generator) place(ring, fresh, at *Node) *Node {
	dims, zero := ring.Shape().Dimensions, ScalarZero(ring.Graph(), dtypes.Int32)
	for j := range fresh.Shape().Dim(0) {
		row, place := SliceAxis(fresh, 0, AxisElem(j)), Reshape(SliceAxis(at, 0, AxisElem(j)))
		if g.inPlace {
			ring = DynamicUpdateSlice(ring, row, []*Node{place, zero, zero, zero})
			continue
		}
		here := Equal(Iota(ring.Graph(), shapes.Make(dtypes.Int32, dims...), 0), BroadcastToDims(place, dims...))
		ring = Where(here, BroadcastToDims(row, dims...), ring)
	}
	return ring
}
