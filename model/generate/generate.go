// Package generate decodes and scores with a model and, where there is one, its adapter.
//
// Prompts of a batch are padded on the left to a bucketed length, so that all rows write
// the same slot of the key/value cache. One execution reads the prompts (prefill); then
// each execution decodes a chunk of tokens inside a While loop on the device, so that
// the cache stays in place and the host is asked once a chunk, not once a token. The
// choice of a token, drawn or likeliest, is part of the loop (sample.go). Between two
// executions the batch may be laid out anew, for fewer rows or more slots (batch.go);
// texts and their ends are the host's work (row.go).
package generate

import (
	"context"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/model"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
)

// Generator continues and scores prompts. It is not safe for concurrent use.
type Generator struct {
	model   *model.Model
	adapter model.Adapter // nil: the base model alone
	rows    int           // B at most
	inPlace bool
	chunk   int // tokens that one execution decodes at most
	device  int // of those that the model lies on; the first, but for what share hands out
	*compiled
}

// kernel names a graph of a generator.
type kernel struct {
	name  string
	slots int // of the cache that comes out, where the inputs do not say
	features
}

// New makes a generator whose batches have at most the given number of rows; adapter
// may be nil.
func New(m *model.Model, adapter model.Adapter, rows int) (*Generator, error) {
	if rows < 1 || rows > 1<<16 {
		return nil, fault.Input("batch", "use 1 to 65536", "%d rows", rows)
	}
	g := &Generator{model: m, adapter: adapter, rows: rows, inPlace: true, chunk: loopChunk,
		compiled: &compiled{graphs: map[kernel]*Exec{}, shapes: map[string]*Shapes{}, price: NewShapes(m).price}}
	if m.Engine.Name == engine.Go { // it has no DynamicUpdateSlice, and its While fails on closures of this size
		g.inPlace, g.chunk = false, 1
	}
	return g, nil
}

// Close frees the compiled graphs.
func (g *Generator) Close() {
	for _, e := range g.graphs {
		e.Finalize()
	}
}

// run executes the graph of a name, built at the first call.
func (g *Generator) run(k kernel, build func([]*Node) []*Node, args ...any) ([]*tensors.Tensor, error) {
	exec, err := g.graph(k, build)
	if err != nil {
		return nil, err
	}
	return engine.Try1(func() []*tensors.Tensor {
		outs, _, err := exec.CallWithGraphOnDevice(compute.DeviceNum(g.device), args...)
		if err != nil {
			panic(err)
		}
		return outs
	})
}

func (g *Generator) graph(k kernel, build func([]*Node) []*Node) (*Exec, error) {
	g.Lock()
	defer g.Unlock()
	exec := g.graphs[k]
	if exec == nil {
		var err error
		if exec, err = NewExec(g.model.Engine.Backend, build); err != nil {
			return nil, err
		}
		exec.WithName(k.name).SetMaxCache(-1)
		g.graphs[k] = exec
	}
	return exec, nil
}

// Greedy continues each prompt by at most limit tokens, until one of ends comes, with
// the likeliest token each time: [Generator.Generate] with those options.
func (g *Generator) Greedy(ctx context.Context, prompts [][]int32, limit int, ends []int32, progress func(done int)) ([]Output, error) {
	return g.Generate(ctx, prompts, Options{MaxNewTokens: limit, Ends: ends, Progress: progress})
}

// Generate continues each prompt. Prompts are taken in batches, longest first, and
// answered in their own order, on all devices on which the model lies; what an output is does not depend on the batches, up to
// the rounding of products of another shape. When ctx is cancelled, the outputs hold
// what had come by then, beside the context's error.
func (g *Generator) Generate(ctx context.Context, prompts [][]int32, o Options) ([]Output, error) {
	if err := o.check(g.model.Vocabulary); err != nil {
		return nil, err
	}
	o.Emit = oneAtATime(o.Emit)
	rows := make([]*row, len(prompts))
	for i, p := range prompts {
		if err := g.checkIDs(i, p); err != nil {
			return nil, err
		}
		rows[i] = newRow(&o, i, p, g.model.Vocabulary)
	}
	done := counter(o.Progress)
	err := share(g, g.batches(rows), func(on *Generator, part []*row) error {
		err := on.batch(ctx, part, &o)
		if err == nil {
			done(len(part))
		}
		return err
	})
	return collect(rows), err
}

func collect(rows []*row) []Output {
	outputs := make([]Output, len(rows))
	for i, r := range rows {
		if !r.done {
			r.output.Text = string(r.text)
		}
		outputs[i] = r.output
	}
	return outputs
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

// leaves are the inputs that every graph of a generator starts with.
func (g *Generator) leaves() []any {
	var args []any
	for _, t := range g.model.On(g.device) {
		args = append(args, t)
	}
	if g.adapter != nil {
		for _, t := range g.adapter.Owned().On(g.device) {
			args = append(args, t)
		}
	}
	return args
}

// decoder binds those inputs and returns the rest.
func (g *Generator) decoder(inputs []*Node) (*model.Decoder, []*Node) {
	params, inputs := g.model.Nodes(inputs)
	d := g.model.Decoder(params)
	if g.adapter != nil {
		params, inputs = g.adapter.Owned().Nodes(inputs)
		d.Delta = g.adapter.Attach(params)
	}
	return d, inputs
}
