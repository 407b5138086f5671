package generate

import (
	"fmt"
	"slices"

	"alphalora/model"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// prefillGraph reads prompts. Inputs after the leaves: ids [B, T], pads [B]. Output: a
// cache of the given slots. Nothing is chosen here: decoding begins with the last token
// of the prompt once more, so that the choice is compiled in one place, and what only
// the scores need, the last layer's MLP above all, is not computed for all tokens.
func (g *Generator) prefillGraph(slots int) func([]*Node) []*Node {
	return func(inputs []*Node) []*Node {
		d, rest := g.decoder(inputs)
		_, cache := d.Prefill(rest[0], rest[1], slots)
		return cache.Nodes()
	}
}

// loop is the state of the decoding loop. A While loop's functions see nothing but its
// state, so what does not change is part of it too; XLA turns that into no work.
type loop struct {
	step   *Node // tokens decoded so far
	live   *Node // rows that are not done
	done   *Node // [B]
	tokens *Node // [B, chunk]: the new ones
	token  *Node // [B, 1]: the last of them
	choice choice
	cache  []*Node

	scores    scores // of the new tokens
	positions *Node  // [B], of the first token of the chunk
	slot      *Node  // where it goes in
	steps     *Node  // decode so many tokens …
	keep      *Node  // … while more than so many rows are not done
	ends      *Node  // [m]: the end tokens
	rest      []*Node
}

func (l *loop) nodes(f features) []*Node {
	fixed := []*Node{l.step, l.live, l.done, l.tokens, l.token, l.positions, l.slot, l.steps, l.keep, l.ends}
	return slices.Concat(fixed, l.choice.nodes(f), l.scores, l.cache, l.rest)
}

// loopFrom is the inverse of nodes.
func loopFrom(s []*Node, f features, cached int) *loop {
	l := &loop{step: s[0], live: s[1], done: s[2], tokens: s[3], token: s[4], positions: s[5], slot: s[6], steps: s[7], keep: s[8], ends: s[9]}
	s = l.choice.read(f, s[10:])
	l.scores, s = s[:f.scored()], s[f.scored():]
	l.cache, l.rest = s[:cached], s[cached:]
	return l
}

// decodeGraph decodes a chunk of tokens. Inputs after the leaves: live, done [B], the last
// token [B, 1] and its position [B], slot, steps, keep, end tokens, the inputs of the choice,
// cache. Outputs: the new tokens [B, chunk], the number of them, their scores, cache.
func (g *Generator) decodeGraph(f features) func([]*Node) []*Node {
	return func(inputs []*Node) []*Node {
		_, rest := g.decoder(inputs)
		leaves, graph := inputs[:len(inputs)-len(rest)], inputs[0].Graph()
		l := &loop{live: rest[0], done: rest[1], token: rest[2], positions: rest[3], slot: rest[4], steps: rest[5], keep: rest[6], ends: rest[7], rest: leaves}
		l.cache = l.choice.read(f, rest[8:])
		l.step = Sub(l.slot, l.slot) // 0; a constant would be shared with the loop's body, where it cannot be used
		l.tokens = BroadcastToDims(l.step, l.done.Shape().Dim(0), g.chunk)
		l.scores = emptyScores(f, l.tokens)
		cached := len(l.cache)
		if g.chunk == 1 {
			l = g.advance(l, f)
		} else {
			state := l.nodes(f)
			more := NewClosure(graph, func(fn *Graph) []*Node { return []*Node{loopFrom(parameters(fn, state), f, cached).more()} })
			body := NewClosure(graph, func(fn *Graph) []*Node {
				return g.advance(loopFrom(parameters(fn, state), f, cached), f).nodes(f)
			})
			l = loopFrom(While(more, body, state...), f, cached)
		}
		return slices.Concat([]*Node{l.tokens, l.step}, l.scores, l.cache)
	}
}

// more tells whether another token is to be decoded. It sums nothing: go-xla keeps one
// reduction of a kind for a whole graph, which then belongs to the loop's body.
func (l *loop) more() *Node {
	return And(LessThan(l.step, l.steps), GreaterThan(l.live, l.keep))
}

// advance decodes one token of each row.
func (g *Generator) advance(l *loop, f features) *loop {
	kv := model.CacheFrom(l.cache, g.inPlace)
	d, _ := g.decoder(l.rest)
	next := *l
	slots := Scalar(l.step.Graph(), dtypes.Int32, kv.Keys[0].Shape().Dim(2))
	logits := d.Logits(d.Step(l.token, Add(l.positions, BroadcastToDims(l.step, l.positions.Shape().Dim(0))), Mod(Add(l.slot, l.step), slots), kv))
	next.token = l.choice.choose(f, logits, l.step)
	if f.penalty {
		next.choice.note(next.token)
	}
	b, c, m := l.tokens.Shape().Dim(0), l.tokens.Shape().Dim(1), l.ends.Shape().Dim(0)
	at := Equal(Iota(l.step.Graph(), l.tokens.Shape(), 1), BroadcastToDims(l.step, b, c))
	next.tokens = Where(at, BroadcastToDims(next.token, b, c), l.tokens)
	next.scores = l.scores.note(f, logits, next.token, l.step)
	ended := LogicalAny(Equal(BroadcastToDims(next.token, b, m), BroadcastToDims(Reshape(l.ends, 1, m), b, m)), -1)
	next.done = Or(l.done, ended)
	next.live = ReduceAllSum(ConvertDType(Not(next.done), dtypes.Int32))
	next.step = AddScalar(l.step, int32(1))
	next.cache = kv.Nodes()
	return &next
}

// parameters declares a function's parameters, shaped like the state.
func parameters(fn *Graph, like []*Node) []*Node {
	list := make([]*Node, len(like))
	for i, n := range like {
		list[i] = Parameter(fn, fmt.Sprintf("state%d", i), n.Shape())
	}
	return list
}

// layoutGraph lays a cache out anew. Inputs: the rows to take [B'], cache of B rows.
// Output: a cache of B' rows with the given slots, no fewer than before.
func layoutGraph(slots int) func([]*Node) []*Node {
	return func(inputs []*Node) []*Node {
		take, cache := ExpandAxes(inputs[0], -1), inputs[1:]
		outs := make([]*Node, len(cache))
		for i, store := range cache { // [B, K, S, D]
			shape := store.Shape().Clone()
			shape.Dimensions[0], shape.Dimensions[2] = take.Shape().Dim(0), slots-shape.Dim(2)
			outs[i] = Gather(store, take)
			if shape.Dim(2) > 0 {
				outs[i] = Concatenate([]*Node{outs[i], Zeros(store.Graph(), shape)}, 2)
			}
		}
		return outs
	}
}
