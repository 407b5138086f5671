package moelora

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// drop zeroes entries of x with probability Dropout and scales the rest by 1/(1-p).
//
// Whether an entry stays is a hash of the key of the micro-batch, the number of the mask
// in the graph and the entry's place (two rounds of multiply and xor-shift): the engine
// computes it inside the operation that reads x, forward and again backward, where a
// generator's random bits would be an operation and a buffer of their own.
func (b *Bound) drop(x *Node) *Node {
	if b.Dropout == 0 {
		return x
	}
	b.masks++
	kept := GreaterOrEqual(hash(b.Key, b.masks, x.Shape().Dimensions), Scalar(x.Graph(), dtypes.Uint32, uint32(b.Dropout*(1<<32))))
	scale := Where(kept, Scalar(x.Graph(), x.DType(), 1/(1-b.Dropout)), ScalarZero(x.Graph(), x.DType()))
	return Mul(x, scale)
}

// hash is a uint32 for each entry of an array, evenly spread: a function of key [scalar,
// uint32], the mask's number and the entry's place.
func hash(key *Node, mask uint32, dims []int) *Node {
	g := key.Graph()
	mix := func(h *Node, shift int, factor uint32) *Node {
		return Mul(BitwiseXor(h, BitwiseShiftRightLogicalScalar(h, uint32(shift))), Scalar(g, dtypes.Uint32, factor))
	}
	salt := mix(Add(key, Scalar(g, dtypes.Uint32, mask*0x9e3779b9)), 15, 0x2c1b3c6d) // scalar: costs nothing
	flat := shapes.Make(dtypes.Uint32, 1)
	for _, d := range dims {
		flat.Dimensions[0] *= d
	}
	h := Reshape(Iota(g, flat, 0), dims...)
	h = mix(BitwiseXor(Mul(h, Scalar(g, dtypes.Uint32, uint32(0x9e3779b1))), salt), 16, 0x7feb352d)
	h = mix(h, 15, 0x846ca68b)
	return BitwiseXor(h, BitwiseShiftRightLogicalScalar(h, uint32(16)))
}
