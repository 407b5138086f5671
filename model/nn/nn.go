// Package nn holds the graph primitives of a decoder. They own no variables: every
// weight is an argument.
//
// Axis letters, used in every shape comment of this project:
//
//	B rows of a batch      T positions of a row      N = B·T tokens, flattened
//	H query heads          K key/value heads         G = H/K queries a key/value head
//	D head dimension       S positions in the cache  C hidden size
//	V vocabulary           E experts                 r rank of an expert
package nn

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Linear is x·Wᵀ: x [N, in], w [out, in] as checkpoints store it → [N, out].
func Linear(x, w *Node) *Node {
	return DotGeneral(x, []int{1}, nil, w, []int{1}, nil)
}

// RMSNorm is x / sqrt(mean(x²) + eps) · (offset + w), in f32, over the last axis.
// Llama's offset is 0, Gemma's 1. Source: Zhang and Sennrich, 2019.
func RMSNorm(x, w *Node, eps, offset float64) *Node {
	dtype := x.DType()
	x32 := ConvertDType(x, dtypes.Float32)
	mean := ReduceAndKeep(Square(x32), ReduceMean, -1)
	y := Div(x32, Sqrt(AddScalar(mean, eps))) // Rsqrt has no gradient in the engine
	scale := ConvertDType(w, dtypes.Float32)
	if offset != 0 {
		scale = AddScalar(scale, offset)
	}
	return ConvertDType(Mul(y, ExpandLeftToRank(scale, x.Rank())), dtype)
}

// SiLU is x·sigmoid(x).
func SiLU(x *Node) *Node { return Mul(x, Logistic(x)) }

// GELUTanh is the tanh form of GELU. Source: Hendrycks and Gimpel, 2016.
func GELUTanh(x *Node) *Node {
	inner := MulScalar(Add(x, MulScalar(Mul(Square(x), x), 0.044715)), math.Sqrt(2/math.Pi))
	return Mul(MulScalar(x, 0.5), OnePlus(Tanh(inner)))
}

// RotaryAngles gives the cosines and sines of the rotary embedding, [B, T, 1, D/2]
// in f32, at positions [B, T]: angle = position · base^(-2i/D). Source: Su et al., 2021.
func RotaryAngles(positions *Node, headDim int, base float64) (cos, sin *Node) {
	half := headDim / 2
	inverse := make([]float32, half)
	for i := range inverse {
		inverse[i] = float32(math.Pow(base, -2*float64(i)/float64(headDim)))
	}
	p := ConvertDType(InsertAxes(positions, -1, -1), dtypes.Float32)        // [B, T, 1, 1]
	angle := Mul(p, ExpandLeftToRank(Const(positions.Graph(), inverse), 4)) // [B, T, 1, D/2]
	return Cos(angle), Sin(angle)
}

// Rotate applies the rotary embedding to x [B, T, heads, D], the two halves of D
// forming the pairs, as the checkpoints of the Llama family expect.
func Rotate(x, cos, sin *Node) *Node {
	dtype := x.DType()
	x = ConvertDType(x, dtypes.Float32)
	half := x.Shape().Dim(-1) / 2
	lo := SliceAxis(x, -1, AxisRangeFromStart(half))
	hi := SliceAxis(x, -1, AxisRangeToEnd(half))
	y := Concatenate([]*Node{
		Sub(Mul(lo, cos), Mul(hi, sin)),
		Add(Mul(hi, cos), Mul(lo, sin)),
	}, -1)
	return ConvertDType(y, dtype)
}

// Attention is softmax(q·kᵀ/√D + mask)·v with grouped queries, the softmax in f32.
// q [B, T, H, D], k and v [B, S, K, D], visible [B, T, S] true where a query may
// look → [B, T, H·D]. Two plain batched products: what the engine does best.
func Attention(q, k, v, visible *Node) *Node {
	b, t, h, d := q.Shape().Dim(0), q.Shape().Dim(1), q.Shape().Dim(2), q.Shape().Dim(3)
	heads := k.Shape().Dim(2)
	group := h / heads
	q = MulScalar(q, 1/math.Sqrt(float64(d)))
	q = Reshape(q, b, t, heads, group, d)
	q = TransposeAllDims(q, 0, 2, 3, 1, 4) // [B, K, G, T, D]
	q = Reshape(q, b, heads, group*t, d)   // [B, K, G·T, D]
	k = TransposeAllDims(k, 0, 2, 1, 3)    // [B, K, S, D]
	v = TransposeAllDims(v, 0, 2, 1, 3)    // [B, K, S, D]
	s := k.Shape().Dim(2)
	scores := DotGeneral(q, []int{3}, []int{0, 1}, k, []int{3}, []int{0, 1}) // [B, K, G·T, S]
	scores = Reshape(ConvertDType(scores, dtypes.Float32), b, heads, group, t, s)
	mask := BroadcastToDims(Reshape(visible, b, 1, 1, t, s), b, heads, group, t, s)
	scores = Where(mask, scores, Scalar(q.Graph(), dtypes.Float32, hidden))
	probs := Reshape(ConvertDType(Softmax(scores, -1), v.DType()), b, heads, group*t, s)
	out := DotGeneral(probs, []int{3}, []int{0, 1}, v, []int{2}, []int{0, 1}) // [B, K, G·T, D]
	out = Reshape(out, b, heads, group, t, d)
	return Reshape(TransposeAllDims(out, 0, 3, 1, 2, 4), b, t, h*d)
}

// hidden is the score of a position that a query may not see: finite, so that a row
// of padding, which sees nothing, stays finite too.
const hidden = -1e30

// CausalVisible is [B, T, S] for a fresh batch (S = T): a query at t sees the keys at
// s ≤ t that are not left padding. pads [B] counts the padding of each row; nil for none.
func CausalVisible(g *Graph, b, t int, pads *Node) *Node {
	query := Iota(g, shapeI32(b, t, t), 1)
	key := Iota(g, shapeI32(b, t, t), 2)
	visible := LessOrEqual(key, query)
	if pads != nil {
		visible = And(visible, GreaterOrEqual(key, BroadcastToDims(Reshape(pads, b, 1, 1), b, t, t)))
	}
	return visible
}

// Positions is [B, T]: 0, 1, 2, … from the first token that is not left padding.
func Positions(g *Graph, b, t int, pads *Node) *Node {
	p := Iota(g, shapeI32(b, t), 1)
	if pads != nil {
		p = MaxScalar(Sub(p, BroadcastToDims(Reshape(pads, b, 1), b, t)), int32(0))
	}
	return p
}

// CrossEntropy is -log softmax(logits)[label] of each token, in f32; 0 where the
// label is negative. logits [N, V], labels [N] → [N].
func CrossEntropy(logits, labels *Node) *Node {
	picked := LogProb(logits, MaxScalar(labels, int32(0)))
	return Where(LessThan(labels, ScalarZero(labels.Graph(), labels.DType())), ZerosLike(picked), Neg(picked))
}

// LogProb is log softmax(logits)[id] of each token, in f32: logits [N, V], ids [N] → [N].
func LogProb(logits, ids *Node) *Node {
	logits = ConvertDType(logits, dtypes.Float32)
	n, v := logits.Shape().Dim(0), logits.Shape().Dim(1)
	top := StopGradient(ReduceAndKeep(logits, ReduceMax, -1))
	shifted := Sub(logits, top)
	hot := Equal(Iota(logits.Graph(), shapeI32(n, v), 1), BroadcastToDims(Reshape(ids, n, 1), n, v))
	at := ReduceSum(Where(hot, shifted, ZerosLike(shifted)), -1)
	return Sub(at, Log(ReduceSum(Exp(shifted), -1)))
}
