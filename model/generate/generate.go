// Package generate decodes and scores with a model and, where there is one, its adapter.
//
// Prompts of a batch are padded on the left to a bucketed length, so that all rows write
// the same slot of the key/value cache. One execution reads the prompts (prefill); then
// each execution decodes a chunk of tokens inside a While loop on the device, so that
// the cache stays in place and the host is asked once a chunk, not once a token.
package generate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/model"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
)

// loopChunk is the number of tokens that one execution decodes.
const loopChunk = 16

// bucket is the grain of prompt lengths: each length is compiled once.
const bucket = 32

// Why an output ended.
const (
	Stopped = "stop"   // an end token or a stop text came
	AtLimit = "length" // neither did within the limit
)

// Output is what one prompt led to.
type Output struct {
	IDs    []int32 // the new tokens, the end token not among them
	Finish string  // [Stopped] or [AtLimit]
}

// Generator decodes greedily. It is not safe for concurrent use.
type Generator struct {
	model   *model.Model
	adapter model.Adapter // nil: the base model alone
	rows    int           // B: every batch has this many, the last ones idle if need be
	inPlace bool
	chunk   int           // tokens that one execution decodes
	prefill map[int]*Exec // by the number of slots
	decode  *Exec
	scorer  *Exec
	next    *Exec
}

// New makes a generator whose batches have the given number of rows; adapter may be nil.
func New(m *model.Model, adapter model.Adapter, rows int) (*Generator, error) {
	if rows < 1 || rows > 1<<16 {
		return nil, fault.Input("batch", "use 1 to 65536", "%d rows", rows)
	}
	g := &Generator{model: m, adapter: adapter, rows: rows, inPlace: true, chunk: loopChunk, prefill: map[int]*Exec{}}
	if m.Engine.Name == engine.Go { // it has no DynamicUpdateSlice, and its While fails on closures of this size
		g.inPlace, g.chunk = false, 1
	}
	for _, graph := range []struct {
		exec  **Exec
		name  string
		build func([]*Node) []*Node
	}{{&g.decode, "decode", g.decodeGraph}, {&g.scorer, "score", g.scoreGraph}, {&g.next, "next", g.nextGraph}} {
		exec, err := NewExec(m.Engine.Backend, graph.build)
		if err != nil {
			return nil, err
		}
		*graph.exec = exec.WithName(graph.name).SetMaxCache(-1)
	}
	return g, nil
}

// Close frees the compiled graphs.
func (g *Generator) Close() {
	for _, e := range g.prefill {
		e.Finalize()
	}
	g.decode.Finalize()
	g.scorer.Finalize()
	g.next.Finalize()
}

// Greedy continues each prompt by at most limit tokens, until one of ends comes.
// Prompts are taken in batches, longest first, and answered in their own order.
// progress, where not nil, is told how many prompts are done.
func (g *Generator) Greedy(ctx context.Context, prompts [][]int32, limit int, ends []int32, progress func(done int)) ([]Output, error) {
	if limit < 1 {
		return nil, fault.Input("max-new-tokens", "use 1 or more", "is %d", limit)
	}
	for i, p := range prompts {
		if err := g.checkIDs(i, p); err != nil {
			return nil, err
		}
	}
	order := make([]int, len(prompts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return len(prompts[b]) - len(prompts[a]) })
	outputs := make([]Output, len(prompts))
	for start := 0; start < len(order); start += g.rows {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		part := order[start:min(start+g.rows, len(order))]
		batch := make([][]int32, len(part))
		for i, at := range part {
			batch[i] = prompts[at]
		}
		done, err := g.legs(ctx, batch, limit, ends)
		if err != nil {
			return nil, err
		}
		for i, at := range part {
			outputs[at] = done[i]
		}
		if progress != nil {
			progress(start + len(part))
		}
	}
	return outputs, nil
}

func (g *Generator) checkIDs(row int, ids []int32) error {
	if len(ids) == 0 {
		return fault.Input("prompt", "give at least one token", "prompt %d is empty", row+1)
	}
	for at, id := range ids {
		if id < 0 || int(id) >= g.model.Vocabulary {
			return fault.Input("prompt", "use the tokenizer of this model", "prompt %d has token %d at %d, but the vocabulary has %d",
				row+1, id, at, g.model.Vocabulary)
		}
	}
	return nil
}

// batch decodes at most rows prompts.
func (g *Generator) batch(ctx context.Context, prompts [][]int32, limit int, ends []int32) ([]Output, error) {
	longest := 0
	for _, p := range prompts {
		longest = max(longest, len(p))
	}
	length := roundUp(longest, bucket)
	slots := length + roundUp(limit, g.chunk)
	ids, pads := padLeft(prompts, g.rows, length)
	token, cache, err := g.runPrefill(ids, pads, slots)
	if err != nil {
		return nil, err
	}
	done := make([]bool, g.rows)
	for i := range done {
		done[i] = i >= len(prompts)
	}
	r := &rows{outputs: make([]Output, len(prompts)), limit: limit, ends: ends, done: done}
	if err := r.take(token, 1); err != nil {
		return nil, err
	}
	for slot := length; !r.finished(); slot += g.chunk {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if token, cache, err = g.runDecode(r, token, pads, slot, cache); err != nil {
			return nil, err
		}
	}
	for _, t := range cache {
		_ = t.FinalizeAll()
	}
	return r.outputs, nil
}

// rows collects the tokens of a batch until every row has ended.
type rows struct {
	outputs []Output
	limit   int
	ends    []int32
	done    []bool
}

// take reads tokens [B, n] in row order.
func (r *rows) take(tokens *tensors.Tensor, n int) error {
	flat, err := tensors.CopyFlatData[int32](tokens)
	if err != nil {
		return err
	}
	for i := range r.outputs {
		for _, id := range flat[i*n : (i+1)*n] {
			if r.done[i] {
				break
			}
			o := &r.outputs[i]
			switch {
			case slices.Contains(r.ends, id):
				o.Finish, r.done[i] = Stopped, true
			default:
				o.IDs = append(o.IDs, id)
				if len(o.IDs) == r.limit {
					o.Finish, r.done[i] = AtLimit, true
				}
			}
		}
	}
	return nil
}

func (r *rows) finished() bool { return !slices.Contains(r.done, false) }

// CutAtStop drops the earliest stop text and what follows it.
func CutAtStop(text string, stops []string) (string, bool) {
	at := -1
	for _, stop := range stops {
		if i := strings.Index(text, stop); stop != "" && i >= 0 && (at < 0 || i < at) {
			at = i
		}
	}
	if at < 0 {
		return text, false
	}
	return text[:at], true
}

func roundUp(n, grain int) int { return (n + grain - 1) / grain * grain }

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

// leaves are the inputs that every graph of a generator starts with.
func (g *Generator) leaves() []any {
	var args []any
	for _, t := range g.model.Tensors {
		args = append(args, t)
	}
	if g.adapter != nil {
		for _, t := range g.adapter.Owned().Tensors {
			args = append(args, t)
		}
	}
	return args
}

// decoder binds those inputs and returns the rest.
func (g *Generator) decoder(inputs []*Node) (*model.Decoder, []*Node) {
	d := &model.Decoder{Description: g.model.Description}
	d.Weights, inputs = g.model.Nodes(inputs)
	if g.adapter != nil {
		var params map[string]*Node
		params, inputs = g.adapter.Owned().Nodes(inputs)
		d.Delta = g.adapter.Attach(params)
	}
	return d, inputs
}

// runPrefill reads the prompts: the first new token [B, 1] and the cache.
func (g *Generator) runPrefill(ids, pads *tensors.Tensor, slots int) (*tensors.Tensor, []*tensors.Tensor, error) {
	exec := g.prefill[slots]
	if exec == nil {
		var err error
		exec, err = NewExec(g.model.Engine.Backend, func(inputs []*Node) []*Node {
			d, rest := g.decoder(inputs)
			hidden, cache := d.Prefill(rest[0], rest[1], slots)
			return append([]*Node{best(d, hidden)}, cache.Nodes()...)
		})
		if err != nil {
			return nil, nil, err
		}
		exec.WithName("prefill").SetMaxCache(-1)
		g.prefill[slots] = exec
	}
	outs, err := engine.Try1(func() []*tensors.Tensor { return exec.MustCall(append(g.leaves(), ids, pads)...) })
	if err != nil {
		return nil, nil, err
	}
	return outs[0], outs[1:], nil
}

// best picks the likeliest token: hidden [B, C] → [B, 1].
func best(d *model.Decoder, hidden *Node) *Node {
	return ExpandAxes(ArgMax(d.Logits(hidden), -1, dtypes.Int32), -1)
}

// runDecode decodes one chunk: the last token [B, 1] and the advanced cache.
func (g *Generator) runDecode(r *rows, token, pads *tensors.Tensor, slot int, cache []*tensors.Tensor) (*tensors.Tensor, []*tensors.Tensor, error) {
	args := append(g.leaves(), pads, int32(slot), tensors.FromFlatDataAndDimensions(slices.Clone(r.done), len(r.done)), endsTensor(r.ends), token)
	for _, t := range cache {
		args = append(args, t)
	}
	outs, err := engine.Try1(func() []*tensors.Tensor { return g.decode.MustCall(args...) })
	if err != nil {
		return nil, nil, err
	}
	for _, t := range append(cache, token) {
		_ = t.FinalizeAll()
	}
	if err := r.take(outs[0], g.chunk); err != nil {
		return nil, nil, err
	}
	return outs[1], outs[2:], nil
}

// endsTensor is never empty: -1 is no token.
func endsTensor(ends []int32) *tensors.Tensor {
	if len(ends) == 0 {
		ends = []int32{-1}
	}
	return tensors.FromFlatDataAndDimensions(slices.Clone(ends), len(ends))
}

// decodeGraph decodes up to chunk tokens, ending early when all rows are done. Inputs
// after the leaves: pads [B], slot, done [B], end tokens, the last token [B, 1], cache.
// Outputs: the new tokens [B, chunk], the last of them [B, 1], cache.
//
// A While loop's functions see nothing but its state, so the weights are part of it;
// they pass through unchanged, which XLA turns into no work.
func (g *Generator) decodeGraph(inputs []*Node) []*Node {
	_, rest := g.decoder(inputs)
	pads, slot, done, ends, token, cache := rest[0], rest[1], rest[2], rest[3], rest[4], rest[5:]
	leaves := inputs[:len(inputs)-len(rest)]
	graph := pads.Graph()
	tokens := Zeros(graph, shapes.Make(dtypes.Int32, g.rows, g.chunk))
	state := slices.Concat([]*Node{ScalarZero(graph, dtypes.Int32), done, tokens, token, pads, slot, ends}, cache, leaves)
	if g.chunk == 1 {
		state = g.advance(state, len(cache))
	} else {
		more := NewClosure(graph, func(fn *Graph) []*Node {
			s := parameters(fn, state)
			under := LessThan(s[0], Scalar(fn, dtypes.Int32, g.chunk))
			return []*Node{And(under, Not(LogicalAll(s[1])))}
		})
		body := NewClosure(graph, func(fn *Graph) []*Node { return g.advance(parameters(fn, state), len(cache)) })
		state = While(more, body, state...)
	}
	return append([]*Node{state[2], state[3]}, state[fixedState:fixedState+len(cache)]...)
}

// fixedState counts the entries of the loop's state before the cache.
const fixedState = 7

// advance decodes one token of each row: the loop's state before → after.
func (g *Generator) advance(s []*Node, cached int) []*Node {
	step, done, tokens, token, pads, slot, ends := s[0], s[1], s[2], s[3], s[4], s[5], s[6]
	kv := model.CacheFrom(s[fixedState:fixedState+cached], g.inPlace)
	leaves := s[fixedState+cached:]
	d, _ := g.decoder(leaves)
	token = best(d, d.Step(token, pads, Add(slot, step), kv))
	b, c, m := tokens.Shape().Dim(0), tokens.Shape().Dim(1), ends.Shape().Dim(0)
	at := Equal(Iota(step.Graph(), tokens.Shape(), 1), BroadcastToDims(step, b, c))
	tokens = Where(at, BroadcastToDims(token, b, c), tokens)
	ended := LogicalAny(Equal(BroadcastToDims(token, b, m), BroadcastToDims(Reshape(ends, 1, m), b, m)), -1)
	next := []*Node{AddScalar(step, int32(1)), Or(done, ended), tokens, token, pads, slot, ends}
	return slices.Concat(next, kv.Nodes(), leaves)
}

// parameters declares a function's parameters, shaped like the state.
func parameters(fn *Graph, like []*Node) []*Node {
	list := make([]*Node, len(like))
	for i, n := range like {
		list[i] = Parameter(fn, fmt.Sprintf("state%d", i), n.Shape())
	}
	return list
}
