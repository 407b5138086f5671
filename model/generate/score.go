package generate

import (
	"context"
	"slices"

	"alphalora/internal/engine"
	"alphalora/model/nn"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
)

// LogProbs returns, for each sequence, the natural logarithm of the probability of each
// token after the first given those before it: len-1 values.
func (g *Generator) LogProbs(ctx context.Context, sequences [][]int32, progress func(done int)) ([][]float64, error) {
	for i, s := range sequences {
		if err := g.checkIDs(i, s); err != nil {
			return nil, err
		}
	}
	order := make([]int, len(sequences))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return len(sequences[b]) - len(sequences[a]) })
	scores := make([][]float64, len(sequences))
	done := counter(progress)
	err := share(g, slices.Collect(slices.Chunk(order, g.rows)), func(g *Generator, part []int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		shape := g.shape("score", g.fit(len(part)), Bucket(len(sequences[part[0]])))
		rows, length := shape[0], shape[1]
		flat, lengths := make([]int32, rows*length), make([]int32, rows)
		for i, at := range part {
			copy(flat[i*length:], sequences[at])
			lengths[i] = int32(len(sequences[at]))
		}
		args := append(g.leaves(), tensors.FromFlatDataAndDimensions(flat, rows, length), tensors.FromFlatDataAndDimensions(lengths, rows))
		values, err := g.floats(kernel{name: "score"}, g.scoreGraph, args)
		if err != nil {
			return err
		}
		for i, at := range part {
			scores[at] = make([]float64, len(sequences[at])-1)
			for j := range scores[at] {
				scores[at][j] = float64(values[i*length+j])
			}
		}
		done(len(part))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return scores, nil
}

// floats runs a graph of one output and copies that to the host.
func (g *Generator) floats(k kernel, build func([]*Node) []*Node, args []any) ([]float32, error) {
	outs, err := g.run(k, build, args...)
	if err != nil {
		return nil, err
	}
	defer free(outs)
	return engine.ReadValues[float32](outs[0])
}

// padLeft lays prompts out as [rows, length] with the padding on the left, and counts it.
// Idle rows repeat the first prompt.
func padLeft(prompts [][]int32, rows, length int) (ids, pads *tensors.Tensor) {
	flat, count := make([]int32, rows*length), make([]int32, rows)
	for i := range rows {
		p := prompts[0]
		if i < len(prompts) {
			p = prompts[i]
		}
		count[i] = int32(length - len(p))
		copy(flat[i*length+length-len(p):], p)
	}
	return tensors.FromFlatDataAndDimensions(flat, rows, length), tensors.FromFlatDataAndDimensions(count, rows)
}

// scoreGraph: ids [B, T], padded on the right, and the tokens of each row [B] → the
// log-probability of the token that follows each position [B, T]; the last column means
// nothing.
func (g *Generator) scoreGraph(inputs []*Node) []*Node {
	d, rest := g.decoder(inputs)
	ids := rest[0]
	d.Lengths = rest[1]
	b, t := ids.Shape().Dim(0), ids.Shape().Dim(1)
	next := Concatenate([]*Node{SliceAxis(ids, 1, AxisRangeToEnd(1)), Zeros(ids.Graph(), shapes.Make(dtypes.Int32, b, 1))}, 1)
	return []*Node{Reshape(nn.LogProb(d.Logits(d.Forward(ids, nil)), Reshape(next, b*t)), b, t)}
}

// Next returns, for each sequence, the log-probability of every token of the vocabulary
// as its continuation: [V] values each.
func (g *Generator) Next(ctx context.Context, sequences [][]int32) ([][]float32, error) {
	for i, s := range sequences {
		if err := g.checkIDs(i, s); err != nil {
			return nil, err
		}
	}
	var all [][]float32
	for part := range slices.Chunk(sequences, g.rows) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		longest := 0
		for _, s := range part {
			longest = max(longest, len(s))
		}
		shape := g.shape("next", g.fit(len(part)), Bucket(longest))
		ids, pads := padLeft(part, shape[0], shape[1])
		values, err := g.floats(kernel{name: "next"}, g.nextGraph, append(g.leaves(), ids, pads))
		if err != nil {
			return nil, err
		}
		for i := range part {
			all = append(all, values[i*g.model.Vocabulary:(i+1)*g.model.Vocabulary])
		}
	}
	return all, nil
}

// nextGraph: ids [B, T], padded on the left, and pads [B] → [B, V].
func (g *Generator) nextGraph(inputs []*Node) []*Node {
	d, rest := g.decoder(inputs)
	ids := rest[0]
	b, t := ids.Shape().Dim(0), ids.Shape().Dim(1)
	hidden := Reshape(d.Forward(ids, rest[1]), b, t, d.Hidden)
	return []*Node{LogSoftmax(d.Logits(Squeeze(SliceAxis(hidden, 1, AxisElem(-1)), 1)))}
}

// Logits holds the scores of one sequence.
type Logits struct {
	Vocabulary *tensors.Tensor            // f32 [1·tokens, V]
	Routers    map[string]*tensors.Tensor // "LAYER.SITE" → f32 [tokens, E], of each routed projection
}

// Logits scores one sequence in full, unpadded.
func (g *Generator) Logits(ids []int32) (Logits, error) {
	if err := g.checkIDs(0, ids); err != nil {
		return Logits{}, err
	}
	var names []string
	exec, err := NewExec(g.model.Engine.Backend, func(inputs []*Node) []*Node {
		d, rest := g.decoder(inputs)
		list := []*Node{d.Logits(d.Forward(rest[0], nil))}
		var routers []*Node
		names, routers = d.RouterLogits()
		return append(list, routers...)
	})
	if err != nil {
		return Logits{}, err
	}
	defer exec.Finalize()
	args := append(g.leaves(), tensors.FromFlatDataAndDimensions(slices.Clone(ids), 1, len(ids)))
	outs, err := engine.Try1(func() []*tensors.Tensor { return exec.MustCall(args...) })
	if err != nil {
		return Logits{}, err
	}
	l := Logits{Vocabulary: outs[0], Routers: map[string]*tensors.Tensor{}}
	for i, name := range names {
		l.Routers[name] = outs[i+1]
	}
	return l, nil
}
