package model

import (
	"alphalora/model/nn"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Cache holds the keys and values of each layer, [B, S, K, D], already rotated. Slot s
// of a row is position s minus the row's left padding; all rows fill the same slot.
type Cache struct {
	Keys, Values []*Node
	InPlace      bool // write one slot, rather than select over all of them
}

// Nodes lists the cache for a graph's outputs: all keys, then all values.
func (c *Cache) Nodes() []*Node { return append(append([]*Node{}, c.Keys...), c.Values...) }

// CacheFrom is the inverse of [Cache.Nodes].
func CacheFrom(nodes []*Node, inPlace bool) *Cache {
	half := len(nodes) / 2
	return &Cache{Keys: append([]*Node{}, nodes[:half]...), Values: append([]*Node{}, nodes[half:]...), InPlace: inPlace}
}

// Prefill runs left-padded prompts ids [B, T] and returns the hidden state of each row's
// last position [B, C], and a cache with room for slots positions.
func (d *Decoder) Prefill(ids, pads *Node, slots int) (*Node, *Cache) {
	g, b, t := ids.Graph(), ids.Shape().Dim(0), ids.Shape().Dim(1)
	visible := nn.CausalVisible(g, b, t, pads)
	cache := &Cache{}
	hidden := d.run(ids, nn.Positions(g, b, t, pads), func(_ int, q, k, v *Node) *Node {
		cache.Keys = append(cache.Keys, grow(k, slots))
		cache.Values = append(cache.Values, grow(v, slots))
		return nn.Attention(q, k, v, visible)
	})
	return Squeeze(SliceAxis(Reshape(hidden, b, t, d.Hidden), 1, AxisElem(-1)), 1), cache
}

// grow appends zeroed slots to x [B, T, K, D].
func grow(x *Node, slots int) *Node {
	shape := x.Shape().Clone()
	shape.Dimensions[1] = slots - shape.Dimensions[1]
	return Concatenate([]*Node{x, Zeros(x.Graph(), shape)}, 1)
}

// Step runs one token of each row, ids [B, 1], that goes into slot (a scalar): the
// hidden state [B, C]; the cache is advanced.
func (d *Decoder) Step(ids, pads, slot *Node, cache *Cache) *Node {
	g, b, s := ids.Graph(), ids.Shape().Dim(0), cache.Keys[0].Shape().Dim(1)
	at := Iota(g, shapes.Make(dtypes.Int32, b, 1, s), 2)
	visible := And(
		LessOrEqual(at, BroadcastToDims(slot, b, 1, s)),
		GreaterOrEqual(at, BroadcastToDims(Reshape(pads, b, 1, 1), b, 1, s)))
	positions := Reshape(Sub(BroadcastToDims(slot, b), pads), b, 1)
	return d.run(ids, positions, func(layer int, q, k, v *Node) *Node {
		cache.Keys[layer] = cache.put(cache.Keys[layer], k, slot)
		cache.Values[layer] = cache.put(cache.Values[layer], v, slot)
		return nn.Attention(q, cache.Keys[layer], cache.Values[layer], visible)
	})
}

// put writes x [B, 1, K, D] into a slot of store [B, S, K, D].
func (c *Cache) put(store, x, slot *Node) *Node {
	if c.InPlace {
		zero := ScalarZero(x.Graph(), dtypes.Int32)
		return DynamicUpdateSlice(store, x, []*Node{zero, slot, zero, zero})
	}
	dims := store.Shape().Dimensions
	at := Iota(x.Graph(), shapes.Make(dtypes.Int32, dims...), 1)
	return Where(Equal(at, BroadcastToDims(slot, dims...)), BroadcastToDims(x, dims...), store)
}
