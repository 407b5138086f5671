package generate

import (
	"context"

	"alphalora/internal/engine"
	"alphalora/model/nn"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
)

// MaxTop is the most alternatives of a token whose scores are told.
const MaxTop = 20

// Scored is a token with the natural logarithm of its probability, as the model states it:
// before temperature and the like.
type Scored struct {
	ID      int32
	LogProb float32
	Top     []Scored // the likeliest tokens in its place, best first
}

// topStep rounds a number of alternatives up, so that few graphs are compiled: for 1, 5
// and 20.
func topStep(n int) int {
	for _, step := range []int{1, 5} {
		if n <= step {
			return step
		}
	}
	return MaxTop
}

// likeliestTokens are the k best of each row, best first: logits [N, V] → ids and
// log-probabilities [N, k]. One maximum after the other, for a sort cannot be in a loop.
func likeliestTokens(logits *Node, k int) (ids, logProbs *Node) {
	n, v := logits.Shape().Dim(0), logits.Shape().Dim(1)
	k = min(k, v)
	left := logits
	place := Iota(logits.Graph(), shapes.Make(dtypes.Int32, n, v), 1)
	gone := Scalar(logits.Graph(), logits.DType(), -1e30)
	var all, scores []*Node
	for range k {
		best := likeliest(left)
		all, scores = append(all, best), append(scores, ReduceAndKeep(left, ReduceMax, -1))
		left = Where(Equal(place, BroadcastToDims(best, n, v)), gone, left)
	}
	best := scores[0]
	mass := Log(ReduceAndKeep(Exp(Sub(logits, BroadcastToDims(best, n, v))), ReduceSum, -1))
	behind := Sub(Concatenate(scores, 1), BroadcastToDims(best, n, k))
	return Concatenate(all, 1), Sub(behind, BroadcastToDims(mass, n, k))
}

// scores are what a decoding loop notes of its new tokens where features ask for it: the
// log-probability of each [B, chunk], and the likeliest in its place with theirs, both
// [B, chunk, k].
type scores []*Node

// scored is the number of the tensors.
func (f features) scored() int {
	if f.top == 0 {
		return 0
	}
	return 3
}

// emptyScores are those of no tokens yet, for tokens [B, chunk] of zeros; without a
// constant, which the loop could not use.
func emptyScores(f features, tokens *Node) scores {
	if f.top == 0 {
		return nil
	}
	b, c := tokens.Shape().Dim(0), tokens.Shape().Dim(1)
	ids := BroadcastToDims(Reshape(tokens, b, c, 1), b, c, f.top)
	return scores{ConvertDType(tokens, dtypes.Float32), ids, ConvertDType(ids, dtypes.Float32)}
}

// note adds those of the tokens [B, 1] that a step chose by its logits [B, V].
func (s scores) note(f features, logits, tokens, step *Node) scores {
	if f.top == 0 {
		return nil
	}
	b := tokens.Shape().Dim(0)
	ids, values := likeliestTokens(logits, f.top)
	put := func(store, column *Node) *Node {
		dims := store.Shape().Dimensions
		shape := append([]int{b, 1}, dims[2:]...)
		at := Equal(Iota(store.Graph(), shapes.Make(dtypes.Int32, dims...), 1), BroadcastToDims(step, dims...))
		return Where(at, BroadcastToDims(Reshape(column, shape...), dims...), store)
	}
	return scores{put(s[0], nn.LogProb(logits, Reshape(tokens, b))), put(s[1], ids), put(s[2], values)}
}

// scoreSheet is what a graph's scores are on the host.
type scoreSheet struct {
	chosen []float32
	ids    []int32
	values []float32
	k      int // alternatives of a token
}

func readScores(outs []*tensors.Tensor) (s scoreSheet, err error) {
	if s.chosen, err = engine.ReadValues[float32](outs[0]); err != nil {
		return s, err
	}
	if s.ids, err = engine.ReadValues[int32](outs[1]); err != nil {
		return s, err
	}
	s.values, err = engine.ReadValues[float32](outs[2])
	s.k = len(s.ids) / max(len(s.chosen), 1)
	return s, err
}

// at reads the scores of one place, with at most top alternatives. The token itself has
// the same score among them, to the last bit: clients compare the two.
func (s scoreSheet) at(place int, id int32, top int) Scored {
	one := Scored{ID: id, LogProb: s.chosen[place]}
	for j := place * s.k; j < place*s.k+min(top, s.k); j++ {
		alternative := Scored{ID: s.ids[j], LogProb: s.values[j]}
		if alternative.ID == id {
			alternative.LogProb = one.LogProb
		}
		one.Top = append(one.Top, alternative)
	}
	return one
}

// Score returns each sequence's tokens with their scores and those of at most top
// alternatives; the first token of each has none.
func (g *Generator) Score(ctx context.Context, sequences [][]int32, top int) ([][]Scored, error) {
	top = min(top, g.model.Vocabulary)
	k := kernel{name: "score-top", features: features{top: min(topStep(top), g.model.Vocabulary)}}
	all := make([][]Scored, len(sequences))
	for at, s := range sequences {
		if err := g.checkIDs(at, s); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		padded := make([]int32, ladder(len(s), leastPrompt))
		copy(padded, s)
		outs, err := g.run(k, g.scoreTopGraph(k.top), append(g.leaves(), tensors.FromFlatDataAndDimensions(padded, 1, len(padded)), []int32{int32(len(s))})...)
		if err != nil {
			return nil, err
		}
		sheet, err := readScores(outs)
		free(outs)
		if err != nil {
			return nil, err
		}
		all[at] = []Scored{{ID: s[0]}}
		for i, id := range s[1:] {
			all[at] = append(all[at], sheet.at(i, id, top))
		}
	}
	return all, nil
}

// scoreTopGraph: ids [1, T], padded on the right, and the tokens of the row [1] → the
// log-probability of the token that follows each position [T], the k likeliest there and
// their log-probabilities [T, k].
func (g *Generator) scoreTopGraph(k int) func([]*Node) []*Node {
	return func(inputs []*Node) []*Node {
		d, rest := g.decoder(inputs)
		ids := rest[0]
		d.Lengths = rest[1]
		logits := d.Logits(d.Forward(ids, nil))
		next := Concatenate([]*Node{SliceAxis(ids, 1, AxisRangeToEnd(1)), Zeros(ids.Graph(), shapes.Make(dtypes.Int32, 1, 1))}, 1)
		top, values := likeliestTokens(logits, k)
		return []*Node{nn.LogProb(logits, Reshape(next, ids.Shape().Size())), top, values}
	}
}

// ladder rounds n up to a power of two, at least least: each size is compiled once.
func ladder(n, least int) int {
	size := least
	for size < n {
		size *= 2
	}
	return size
}
