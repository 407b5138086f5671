package model

import (
	"alphalora/model/nn"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// tokens is what a pass knows of its tokens beside their ids: where they stand.
type tokens struct {
	positions *Node // [B, T] from each row's first real token, or [1, T] where all rows are alike
	lengths   *Node // [B], the real tokens of each row, those in the cache included; [B, T] in packed rows
	distances *Node // [B, T, S], from a query back to a key
	visible   *Node // [B, T, S], what a query sees in a layer without a window
	narrowed  map[int]*Node
}

// whole places rows of T tokens that stand alone.
func (d *Decoder) whole(g *Graph, b, t int, pads *Node) *tokens {
	distances := nn.Distances(Iota(g, shapes.Make(dtypes.Int32, b, t, t), 1))
	alike := b
	if pads == nil {
		alike = 1 // fewer sines and cosines, which every reader of them computes anew
	}
	p := &tokens{positions: nn.Positions(g, alike, t, pads), lengths: d.Lengths, distances: distances,
		visible: nn.Visible(distances, pads), narrowed: map[int]*Node{}}
	if p.lengths == nil {
		p.lengths = FillScalar(g, shapes.Make(dtypes.Int32, b), float64(t))
		if pads != nil {
			p.lengths = Sub(p.lengths, pads)
		}
	}
	if d.Segments != nil {
		p.part(d.Segments)
	}
	return p
}

// part keeps the texts of packed rows apart: each token sees and counts only those of its
// own segment, as if its text stood alone.
func (p *tokens) part(segments *Node) {
	own := nn.Own(segments)
	count := func(mask *Node) *Node { return ReduceSum(ConvertDType(mask, dtypes.Int32), -1) }
	p.visible = And(p.visible, own)
	p.positions = AddScalar(count(p.visible), int32(-1))
	p.lengths = count(own)
}

// next places one token of each row at positions [B], in a slot (a scalar) of a ring of so
// many slots: a row sees as many back as its position.
func next(slot, positions *Node, slots int) *tokens {
	b := positions.Shape().Dim(0)
	distances := nn.Distances(BroadcastToDims(slot, b, 1, slots))
	distances = Where(LessThan(distances, ZerosLike(distances)), AddScalar(distances, int32(slots)), distances)
	visible := LessOrEqual(distances, BroadcastToDims(Reshape(positions, b, 1, 1), b, 1, slots))
	return &tokens{positions: Reshape(positions, b, 1), lengths: AddScalar(positions, int32(1)),
		distances: distances, visible: visible, narrowed: map[int]*Node{}}
}

// seen is what a query sees in a layer with a window, or without one where it is 0.
func (p *tokens) seen(window int) *Node {
	if window == 0 {
		return p.visible
	}
	if p.narrowed[window] == nil {
		p.narrowed[window] = nn.Within(p.visible, p.distances, window)
	}
	return p.narrowed[window]
}

// rotation is the cosines and sines of the tokens' positions, [B or 1, T, 1, P].
type rotation struct{ cos, sin *Node }

// rotation computes an embedding's; rows longer than its border take its long frequencies.
func (p *tokens) rotation(r Rope) rotation {
	g, pairs := p.positions.Graph(), len(r.Inverse)
	inverse := Reshape(Const(g, r.Inverse), 1, 1, 1, pairs)
	if r.Border > 0 {
		b := p.lengths.Shape().Dim(0)
		each := p.lengths.Shape().Size() / b // lengths of a row: one, or each token's
		long := GreaterThan(p.lengths, Scalar(g, p.lengths.DType(), r.Border))
		inverse = Where(BroadcastToDims(Reshape(long, b, each, 1, 1), b, each, 1, pairs),
			BroadcastToDims(Reshape(Const(g, r.Long), 1, 1, 1, pairs), b, each, 1, pairs), BroadcastToDims(inverse, b, each, 1, pairs))
	}
	cos, sin := nn.RotaryAngles(p.positions, inverse)
	if r.Scale != 1 {
		cos, sin = MulScalar(cos, r.Scale), MulScalar(sin, r.Scale)
	}
	return rotation{cos, sin}
}
