// Package nn holds the graph primitives of a decoder. They own no variables: every
// weight is an argument.
//
// Axis letters, used in every shape comment of this project:
//
//	B rows of a batch      T positions of a row      N = B·T tokens, flattened
//	H query heads          K key/value heads         G = H/K queries a key/value head
//	D head dimension       S positions in the cache  C hidden size
//	V vocabulary           E experts                 r rank of an expert
//	P rotated pairs of a head
package nn

import (
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Linear is x·Wᵀ: x [N, in], w [out, in] as checkpoints store it → [N, out].
func Linear(x, w *Node) *Node {
	return Contract(x, []int{1}, nil, w, []int{1}, nil)
}

// AddBias adds b [out] to each row of x [N, out].
func AddBias(x, b *Node) *Node { return Add(x, ExpandLeftToRank(b, x.Rank())) }

// SoftCap is limit·tanh(x/limit), which stays within ±limit.
func SoftCap(x *Node, limit float64) *Node { return MulScalar(Tanh(MulScalar(x, 1/limit)), limit) }

// Product is x·W: x [N, in], w [in, out] → [N, out].
func Product(x, w *Node) *Node {
	return Contract(x, []int{1}, nil, w, []int{0}, nil)
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
