package nn

import (
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Attention is softmax(cap(scale·q·kᵀ) + mask)·v with grouped queries, the softmax in
// f32; limit is that of [SoftCap], 0 for none. q [B, T, H, D], k and v [B, K, S, D],
// visible [B, T, S] true where a query may look → [B, T, H·D]. Two plain batched
// products: what the engine does best.
func Attention(q, k, v, visible *Node, scale, limit float64) *Node {
	b, t, h, d := q.Shape().Dim(0), q.Shape().Dim(1), q.Shape().Dim(2), q.Shape().Dim(3)
	heads, s := k.Shape().Dim(1), k.Shape().Dim(2)
	group := h / heads
	q = MulScalar(q, scale)
	q = Reshape(q, b, t, heads, group, d)
	q = TransposeAllDims(q, 0, 2, 3, 1, 4)                                 // [B, K, G, T, D]
	q = Reshape(q, b, heads, group*t, d)                                   // [B, K, G·T, D]
	scores := Contract(q, []int{3}, []int{0, 1}, k, []int{3}, []int{0, 1}) // [B, K, G·T, S]
	scores = Reshape(ConvertDType(scores, dtypes.Float32), b, heads, group, t, s)
	if limit > 0 {
		scores = SoftCap(scores, limit)
	}
	mask := BroadcastToDims(Reshape(visible, b, 1, 1, t, s), b, heads, group, t, s)
	scores = Where(mask, scores, Scalar(q.Graph(), dtypes.Float32, hidden))
	probs := Reshape(ConvertDType(Softmax(scores, -1), v.DType()), b, heads, group*t, s)
	out := Contract(probs, []int{3}, []int{0, 1}, v, []int{2}, []int{0, 1}) // [B, K, G·T, D]
	out = Reshape(out, b, heads, group, t, d)
	return Reshape(TransposeAllDims(out, 0, 3, 1, 2, 4), b, t, h*d)
}

// hidden is the score of a position that a query may not see: finite, so that a row
// of padding, which sees nothing, stays finite too.
const hidden = -1e30

// Distances is [B, T, S] for queries at slots query [B, T, S] of a row whose keys lie at
// slots 0 to S-1: how far back each key lies, negative for later ones.
func Distances(query *Node) *Node {
	return Sub(query, Iota(query.Graph(), query.Shape(), 2))
}

// Visible is [B, T, S]: a query sees the keys that do not lie ahead of it and are not
// left padding. distances as of [Distances]; pads [B] counts the padding of each row,
// nil for none.
func Visible(distances, pads *Node) *Node {
	visible := GreaterOrEqual(distances, ZerosLike(distances))
	if pads != nil {
		dims := distances.Shape().Dimensions
		key := Iota(distances.Graph(), distances.Shape(), 2)
		visible = And(visible, GreaterOrEqual(key, BroadcastToDims(Reshape(pads, dims[0], 1, 1), dims...)))
	}
	return visible
}

// Within narrows visible to the last positions, window of them with the query's own.
func Within(visible, distances *Node, window int) *Node {
	return And(visible, LessThan(distances, Scalar(distances.Graph(), distances.DType(), window)))
}

// Own is [B, T, T] for segments [B, T]: true where query and key are of one segment.
func Own(segments *Node) *Node {
	b, t := segments.Shape().Dim(0), segments.Shape().Dim(1)
	return Equal(BroadcastToDims(Reshape(segments, b, t, 1), b, t, t), BroadcastToDims(Reshape(segments, b, 1, t), b, t, t))
}
