package eval

import (
	"errors"
	"math/bits"
	"slices"
	"sync"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"alphalora/internal/engine"
	"alphalora/model"
	"alphalora/model/generate"
	"alphalora/model/nn"
)

// Forks scores continuations that share the start of their sequences: the start is
// computed once, whatever the number of continuations behind it. It is not safe for
// concurrent use.
type Forks struct {
	model   *model.Model
	adapter model.Adapter // nil: the base model alone
	exec    *graph.Exec
	shapes  *generate.Shapes
}

// NewForks makes a scorer with the model and its adapter, which may be nil.
func NewForks(m *model.Model, adapter model.Adapter) (*Forks, error) {
	f := &Forks{model: m, adapter: adapter, shapes: generate.NewShapes(m)}
	exec, err := graph.NewExec(m.Engine.Backend, f.graph)
	if err != nil {
		return nil, err
	}
	f.exec = exec.WithName("forks").SetMaxCache(-1)
	return f, nil
}

// Close frees the compiled graphs.
func (f *Forks) Close() { f.exec.Finalize() }

// fork is one prompt with its candidates, as a row.
type fork struct {
	prompt              int // its place in the batch
	ids                 []int32
	positions, branches []int32
	length              int // of the longest candidate
	asked               []asked
}

// asked is one token whose probability counts.
type asked struct {
	before     int // the place in the row of the token before it
	id         int32
	candidates []int // whose score it is part of
}

// newFork lays out sequences, of each of which the tokens from head on are scored.
func newFork(prompt, head int, sequences [][]int32) fork {
	trunk := sharedStart(sequences)
	f := fork{prompt: prompt, ids: slices.Clone(sequences[0][:trunk]), positions: make([]int32, trunk), branches: make([]int32, trunk)}
	all := make([]int, len(sequences))
	for i := range f.positions {
		f.positions[i] = int32(i)
	}
	for j := range all {
		all[j] = j
	}
	for k := max(head, 1); k < trunk; k++ {
		f.asked = append(f.asked, asked{k - 1, f.ids[k], all})
	}
	for j, ids := range sequences {
		start := len(f.ids)
		for k := trunk; k < len(ids); k++ {
			before := start + k - trunk - 1
			if k == trunk {
				before = trunk - 1
			}
			if k >= max(head, 1) {
				f.asked = append(f.asked, asked{before, ids[k], []int{j}})
			}
			f.ids, f.positions, f.branches = append(f.ids, ids[k]), append(f.positions, int32(k)), append(f.branches, int32(j+1))
		}
		f.length = max(f.length, len(ids))
	}
	return f
}

// sharedStart is the number of tokens with which all sequences begin.
func sharedStart(sequences [][]int32) int {
	n := len(sequences[0])
	for _, s := range sequences {
		n = min(n, len(s))
		for i := range n {
			if s[i] != sequences[0][i] {
				n = i
				break
			}
		}
	}
	return n
}

// crosses tells whether the model rotates the candidates in different ways, so that they
// share nothing.
func crosses(border int, sequences [][]int32) bool {
	over := 0
	for _, s := range sequences {
		if border > 0 && len(s) > border {
			over++
		}
	}
	return over > 0 && over < len(sequences)
}

// score adds the log-probabilities of all that is asked to scores. Each device on which the
// model lies takes its share of the forks.
func (f *Forks) score(forks []fork, scores [][]Score) error {
	each := (len(forks) + f.model.Devices() - 1) / f.model.Devices()
	errs := make([]error, f.model.Devices())
	var all sync.WaitGroup
	for device, part := range slices.Collect(slices.Chunk(forks, each)) {
		all.Go(func() { errs[device] = f.scoreOn(device, part, scores) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// scoreOn is score on one device.
func (f *Forks) scoreOn(device int, forks []fork, scores [][]Score) error {
	rows, width, count := 1<<bits.Len(uint(len(forks)-1)), 0, 0
	for _, k := range forks {
		width, count = max(width, len(k.ids)), count+len(k.asked)
	}
	wanted := []int{rows, generate.Bucket(width), 1 << bits.Len(uint(count-1))}
	shape := f.shapes.Fit(wanted, func(shape []int) int { return shape[0]*shape[1] + shape[2] })
	rows, width, count = shape[0], shape[1], shape[2]
	ids, positions, branches, lengths := make([]int32, rows*width), make([]int32, rows*width), make([]int32, rows*width), make([]int32, rows)
	before, next := make([]int32, count), make([]int32, count)
	n := 0
	for i := range branches {
		branches[i] = -1
	}
	for row, k := range forks {
		copy(ids[row*width:], k.ids)
		copy(positions[row*width:], k.positions)
		copy(branches[row*width:], k.branches)
		lengths[row] = int32(k.length)
		for _, a := range k.asked {
			before[n], next[n] = int32(row*width+a.before), a.id
			n++
		}
	}
	values, err := f.run(device, tensors.FromFlatDataAndDimensions(ids, rows, width), tensors.FromFlatDataAndDimensions(positions, rows, width),
		tensors.FromFlatDataAndDimensions(branches, rows, width), lengths, before, next)
	if err != nil {
		return err
	}
	for _, k := range forks {
		for _, a := range k.asked {
			for _, j := range a.candidates {
				scores[k.prompt][j].LogProb += float64(values[0])
				scores[k.prompt][j].Tokens++
			}
			values = values[1:]
		}
	}
	return nil
}

func (f *Forks) run(device int, inputs ...any) ([]float32, error) {
	var args []any
	for _, t := range f.model.On(device) {
		args = append(args, t)
	}
	if f.adapter != nil {
		for _, t := range f.adapter.Owned().On(device) {
			args = append(args, t)
		}
	}
	outs, err := engine.Try1(func() []*tensors.Tensor {
		outs, _, err := f.exec.CallWithGraphOnDevice(compute.DeviceNum(device), append(args, inputs...)...)
		if err != nil {
			panic(err)
		}
		return outs
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = outs[0].FinalizeAll() }()
	return engine.ReadValues[float32](outs[0])
}

// graph: the leaves, ids, positions and branches [B, T] as in [model.Decoder.Branches],
// lengths [B], places before [M] in the flattened rows and the tokens next [M] asked for
// there → their log-probabilities [M]. Only the hidden states that are asked about are
// multiplied with the vocabulary.
func (f *Forks) graph(inputs []*graph.Node) []*graph.Node {
	params, rest := f.model.Nodes(inputs)
	d := f.model.Decoder(params)
	if f.adapter != nil {
		params, rest = f.adapter.Owned().Nodes(rest)
		d.Delta = f.adapter.Attach(params)
	}
	ids, positions, branches, before, next := rest[0], rest[1], rest[2], rest[4], rest[5]
	d.Lengths = rest[3]
	hidden := graph.Gather(d.Branches(ids, positions, branches), graph.ExpandAxes(before, -1)) // [M, C]
	return []*graph.Node{nn.LogProb(d.Logits(hidden), next)}
}
