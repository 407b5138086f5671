package model

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Cache holds the keys and values of each layer, [B, K, S, D], already rotated. It is a
// ring: all rows fill the same slot, and what lies n slots before it, around the end where
// it must, is each row's n-th token before. A row that is as long as the ring or shorter
// so may begin at any slot.
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
	b, t := ids.Shape().Dim(0), ids.Shape().Dim(1)
	cache := &Cache{}
	hidden := d.run(ids, d.whole(ids.Graph(), b, t, pads), func(_ int, k, v *Node) (*Node, *Node) {
		cache.Keys = append(cache.Keys, grow(k, slots))
		cache.Values = append(cache.Values, grow(v, slots))
		return k, v
	})
	return Squeeze(SliceAxis(Reshape(hidden, b, t, d.Hidden), 1, AxisElem(-1)), 1), cache
}

// grow appends zeroed slots to x [B, K, T, D].
func grow(x *Node, slots int) *Node {
	shape := x.Shape().Clone()
	if slots == shape.Dimensions[2] {
		return x
	}
	shape.Dimensions[2] = slots - shape.Dimensions[2]
	return Concatenate([]*Node{x, Zeros(x.Graph(), shape)}, 2)
}

// Step runs one token of each row, ids [B, 1] at positions [B], that goes into slot (a
// scalar): the hidden state [B, C]; the cache is advanced. A row must not cross the border
// of [Description.RopeBorder] by it: keys that were rotated in the other way stay so.
func (d *Decoder) Step(ids, positions, slot *Node, cache *Cache) *Node {
	at := next(slot, positions, cache.Keys[0].Shape().Dim(2))
	return d.run(ids, at, func(layer int, k, v *Node) (*Node, *Node) {
		cache.Keys[layer] = cache.put(cache.Keys[layer], k, slot)
		cache.Values[layer] = cache.put(cache.Values[layer], v, slot)
		return cache.Keys[layer], cache.Values[layer]
	})
}

// put writes x [B, K, 1, D] into a slot of store [B, K, S, D].
func (c *Cache) put(store, x, slot *Node) *Node {
	if c.InPlace {
		zero := ScalarZero(x.Graph(), dtypes.Int32)
		return DynamicUpdateSlice(store, x, []*Node{zero, zero, slot, zero})
	}
	dims := store.Shape().Dimensions
	at := Iota(x.Graph(), shapes.Make(dtypes.Int32, dims...), 2)
	return Where(Equal(at, BroadcastToDims(slot, dims...)), BroadcastToDims(x, dims...), store)
}
