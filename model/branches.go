package model

import (
	"alphalora/model/nn"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Branches runs rows that fork: a trunk, then continuations of it that do not see each
// other, so that what they share is computed once. ids [B, T]; positions [B, T] count from
// each row's first token, and go on from the trunk's end in every branch; branches [B, T]
// is 0 in the trunk and another number in each branch (padding is a branch that nobody
// asks about). [Decoder.Lengths] must hold each row's longest way from start to end.
// Returns the hidden state after the last norm [N, C].
func (d *Decoder) Branches(ids, positions, branches *Node) *Node {
	b, t := ids.Shape().Dim(0), ids.Shape().Dim(1)
	distances := Sub(each(positions, 2, b, t), each(positions, 1, b, t))
	same := Equal(each(branches, 2, b, t), each(branches, 1, b, t))
	key := each(branches, 1, b, t)
	at := &tokens{positions: positions, lengths: d.Lengths, distances: distances,
		visible: And(nn.Visible(distances, nil), Or(same, Equal(key, ZerosLike(key)))), narrowed: map[int]*Node{}}
	return d.run(ids, at, func(_ int, k, v *Node) (*Node, *Node) { return k, v })
}

// each repeats x [B, T] along a new axis: [B, T, T].
func each(x *Node, axis, b, t int) *Node {
	return BroadcastToDims(ExpandAxes(x, axis), b, t, t)
}
