package nn

import (
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Positions is [B, T]: 0, 1, 2, … from the first token that is not left padding. pads [B]
// counts the padding of each row; nil for none.
func Positions(g *Graph, b, t int, pads *Node) *Node {
	p := Iota(g, shapeI32(b, t), 1)
	if pads != nil {
		p = MaxScalar(Sub(p, BroadcastToDims(Reshape(pads, b, 1), b, t)), int32(0))
	}
	return p
}

// RotaryAngles gives the cosines and sines of the rotary embedding, [B, T, 1, P] in f32:
// angle = position · inverse. positions [B, T]; inverse [1 or B, 1 or T, 1, P], the
// inverse frequencies of all rows, of each or of each token. Source: Su et al., 2021.
func RotaryAngles(positions, inverse *Node) (cos, sin *Node) {
	p := ConvertDType(InsertAxes(positions, -1, -1), dtypes.Float32) // [B, T, 1, 1]
	angle := Mul(p, inverse)
	return Cos(angle), Sin(angle)
}

// Rotate applies the rotary embedding to the first 2·P dimensions of x [B, T, heads, D],
// the two halves of those forming the pairs, as checkpoints expect.
func Rotate(x, cos, sin *Node) *Node {
	dtype, half, size := x.DType(), cos.Shape().Dim(-1), x.Shape().Dim(-1)
	dims := append(append([]int{}, x.Shape().Dimensions[:3]...), 2, half)
	pairs := Reshape(ConvertDType(SliceAxis(x, -1, AxisRangeFromStart(2*half)), dtypes.Float32), dims...) // [B, T, heads, 2, P]
	cos, sin = ExpandAxes(cos, -2), ExpandAxes(sin, -2)                                                   // [B, T, 1, 1, P]
	sin = Mul(sin, Const(x.Graph(), [][][][][]float32{{{{{-1}, {1}}}}}))
	y := Add(Mul(pairs, cos), Mul(Reverse(pairs, -2), sin))
	y = Reshape(ConvertDType(y, dtype), append(dims[:3:3], 2*half)...)
	if size > 2*half {
		y = Concatenate([]*Node{y, SliceAxis(x, -1, AxisRangeToEnd(2*half))}, -1)
	}
	return y
}
