package train

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"alphalora/internal/engine"
	"alphalora/model"
	"alphalora/moelora"
	"alphalora/train/data"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
)

// stepper runs optimiser steps: one execution of the accumulate graph for each
// micro-batch, then one of the apply graph. Gradients, moments and the adapter are f32.
type stepper struct {
	model   *model.Model
	adapter *moelora.Adapter // nil: full-parameter training
	owned   *model.Params    // the variables that training moves
	m, v    *model.Params    // AdamW's moments of those
	zeros   *model.Params    // where each step's gradients start, and its sums
	settings

	accumulate, apply, judging *program
}

// settings of the graphs.
type settings struct {
	optimizer     AdamW
	maxGradNorm   float64
	dropout       float64
	maskPerExpert bool    // of dropout, as of moelora.Mode
	balance       float64 // coefficient of the balance loss
	zLoss         float64 // coefficient of the router's z-loss
	countPadding  bool    // the routing losses count padded positions too
	rateRatio     float64 // learning rate of B over that of A; 0: the kind's own
	rematerialise bool
	flash         bool // attention by nn.Flash
	seed          int64
	log           func(line string) // told what a user may want to know; may be nil
	trace         func(Span)        // told where the time goes; may be nil
}

// measured is what one optimiser step reports.
type measured struct {
	loss, balance, z, norm float64
	layers                 []float64 // balance loss of each layer
	layersZ                []float64 // z-loss of each layer
}

func newStepper(m *model.Model, a *moelora.Adapter, s settings) (*stepper, error) {
	st := &stepper{model: m, adapter: a, owned: m.Params, settings: s}
	if a != nil {
		st.owned = a.Params
	}
	st.m, st.v, st.zeros = zerosLike(st.owned), zerosLike(st.owned), zerosLike(st.owned)
	st.zeros.Add("sums", tensors.FromShape(shapes.Make(dtypes.Float32, 1+2*st.layers())))
	if err := st.spread(); err != nil {
		return nil, err
	}
	n := st.owned.Len()
	var err error
	if st.accumulate, err = st.compile("accumulate", st.accumulateGraph, st.layout(2*n+1+3)...); err != nil {
		return nil, err
	}
	if st.apply, err = st.compile("apply", st.applyGraph, whole); err != nil {
		return nil, err
	}
	st.judging, err = st.compile("validate", st.judgeGraph, st.layout(n)...)
	return st, err
}

func (s *stepper) tell(line string) {
	if s.log != nil {
		s.log(line)
	}
}

func zerosLike(p *model.Params) *model.Params {
	z := &model.Params{}
	for i, name := range p.Names {
		z.Add(name, tensors.FromShape(shapes.Make(dtypes.Float32, p.Tensors[i].Shape().Dimensions...)))
	}
	return z
}

// frozen lists the base weights on a device when an adapter trains.
func (s *stepper) frozen(device int) []*tensors.Tensor {
	if s.adapter == nil {
		return nil
	}
	return s.model.On(device)
}

// accumulateGraph adds the gradients of one micro-batch to those before.
//
// Inputs: frozen weights, owned variables, gradients so far, the sums so far
// [1 + 2·layers], the dropout's key, two scalars: 1/targets of the whole step, and this
// micro-batch's share of the step's tokens, and a batch as of [stepper.inputs].
// Outputs: gradients and sums.
func (s *stepper) accumulateGraph(inputs []*Node) []*Node {
	d := s.model.Decoder(nil)
	d.Checkpoint, d.Full, d.Flash = s.rematerialise, s.adapter == nil, s.flash
	if s.adapter != nil {
		d.Weights, inputs = s.model.Nodes(inputs)
	}
	params, rest := s.owned.Nodes(inputs)
	owned, grads, rest := inputs[:len(params)], rest[:len(params)], rest[len(params):]
	sums, key, perTarget, share := rest[0], rest[1], rest[2], rest[3]
	ids, labels := place(d, rest[4:])

	var bound *moelora.Bound
	if s.adapter == nil {
		d.Weights = params
	} else {
		mode := moelora.Mode{Dropout: s.dropout, Key: key, MaskPerExpert: s.maskPerExpert, Recompute: s.rematerialise}
		if !s.countPadding {
			mode.Counted = realTokens(ids, d.Lengths)
		}
		bound = s.adapter.Bind(params, mode)
		d.Delta = bound
	}
	crossEntropy := d.CrossEntropy(d.Forward(ids, nil), nextLabels(labels))
	loss := Mul(crossEntropy, perTarget)
	parts := []*Node{crossEntropy}
	if bound != nil {
		losses, terms := s.routing(bound, ids, d.Lengths, share)
		parts, loss = append(parts, terms...), Add(loss, losses)
	}
	outs := make([]*Node, 0, len(owned)+1)
	for i, g := range Gradient(loss, owned...) {
		outs = append(outs, Add(grads[i], ConvertDType(g, dtypes.Float32)))
	}
	return append(outs, Add(sums, StopGradient(Stack(parts, 0))))
}

// place gives a decoder a batch as of [stepper.inputs].
func place(d *model.Decoder, batch []*Node) (ids, labels *Node) {
	d.Lengths = batch[2]
	if len(batch) > 3 { // packed rows
		d.Segments = batch[3]
	}
	return batch[0], batch[1]
}

// routing is what the routing losses add to the loss, with their coefficients, and each
// layer's balance and z-loss by themselves, all by this micro-batch's share of the step.
func (s *stepper) routing(bound *moelora.Bound, ids, lengths, share *Node) (loss *Node, terms []*Node) {
	g := ids.Graph()
	tokens := ReduceAllSum(ConvertDType(lengths, dtypes.Float32))
	if s.countPadding {
		tokens = Scalar(g, dtypes.Float32, ids.Shape().Size())
	}
	loss = ScalarZero(g, dtypes.Float32)
	for i, layers := range [][]*Node{bound.Balance(g, tokens), bound.ZLoss(g, tokens)} {
		coefficient := []float64{s.balance, s.zLoss}[i]
		for _, layer := range layers {
			layer = Mul(layer, share)
			if coefficient != 0 { // a gradient times 0 would be computed all the same
				loss = Add(loss, MulScalar(layer, coefficient))
			}
			terms = append(terms, layer)
		}
	}
	return loss, terms
}

// realTokens is [N], true where a right-padded row holds a token.
func realTokens(ids, lengths *Node) *Node {
	b, t := ids.Shape().Dim(0), ids.Shape().Dim(1)
	at := Iota(ids.Graph(), shapes.Make(dtypes.Int32, b, t), 1)
	return Reshape(LessThan(at, BroadcastToDims(Reshape(lengths, b, 1), b, t)), b*t)
}

// nextLabels shifts labels [B, T] so that each position holds the token that follows it,
// and -100 at the end: [N].
func nextLabels(labels *Node) *Node {
	b, t := labels.Shape().Dim(0), labels.Shape().Dim(1)
	end := FillScalar(labels.Graph(), shapes.Make(labels.DType(), b, 1), data.Ignored)
	return Reshape(Concatenate([]*Node{SliceAxis(labels, 1, AxisRangeToEnd(1)), end}, 1), b*t)
}

// applyGraph is one AdamW step. Inputs: owned variables, m, v, gradients, the learning
// rate and the step's number from 1. Outputs: owned variables, m, v, gradient norm.
func (s *stepper) applyGraph(inputs []*Node) []*Node {
	n := s.owned.Len()
	lr, step := inputs[4*n], inputs[4*n+1]
	norm, grads := clip(inputs[3*n:4*n], s.maxGradNorm)
	outs := make([]*Node, 3*n+1)
	sound := IsFinite(norm) // otherwise nothing moves, and guard.go finds the cause
	rates, roles := make([]float64, n), s.model.Roles()
	if s.adapter != nil {
		rates, roles = s.adapter.Rates(s.rateRatio), s.adapter.Roles()
	}
	for i := range n {
		lr := lr
		if rates[i] > 0 && rates[i] != 1 {
			lr = MulScalar(lr, rates[i])
		}
		outs[i], outs[n+i], outs[2*n+i] = s.optimizer.update(inputs[i], inputs[n+i], inputs[2*n+i], grads[i],
			lr, step, s.optimizer.decay(lr.Graph(), roles[i]))
		for _, j := range []int{i, n + i, 2*n + i} {
			outs[j] = Where(sound, outs[j], inputs[j])
		}
	}
	outs[3*n] = norm
	return outs
}

// step runs one optimiser step over its micro-batches; number counts from 1.
func (s *stepper) step(number int, batches []data.Batch, rate float64) (measured, error) {
	grads, sums, err := s.gradients(number, batches)
	if err != nil {
		return measured{}, err
	}
	if slices.ContainsFunc(sums, func(v float32) bool { return !finite(float64(v)) }) { // nothing moves
		grads.Free()
		return s.report(batches, sums, float32(math.NaN())), nil
	}
	end := s.timed(SpanApply, number)
	outs, err := s.apply.call("a step", s.lanes(func(device int) []*tensors.Tensor {
		return join(s.owned.On(device), s.m.On(device), s.v.On(device), grads.On(device),
			[]*tensors.Tensor{tensors.FromScalar(float32(rate)), tensors.FromScalar(float32(number))})
	}))
	if err != nil {
		return measured{}, err
	}
	grads.Free()
	n := s.owned.Len()
	for i, p := range []*model.Params{s.owned, s.m, s.v} {
		fresh := listOf(p.Names, outs, i*n, (i+1)*n)
		if err := p.Replace(append([][]*tensors.Tensor{fresh.Tensors}, fresh.Others...)...); err != nil {
			return measured{}, err
		}
	}
	norm, err := engine.ReadScalar[float32](outs[0][3*n]) // waits for the engine
	if err != nil {
		return measured{}, fmt.Errorf("gradient norm: %w", err)
	}
	end()
	return s.report(batches, sums, norm), nil
}

// gradients sums the gradients and the measured parts over a step's micro-batches.
func (s *stepper) gradients(number int, batches []data.Batch) (*model.Params, []float32, error) {
	targets, tokens := totals(batches)
	n, grads := s.owned.Len(), s.zeros
	for i, b := range batches {
		end := s.timed(SpanAccumulate, number)
		outs, err := s.accumulate.call(shapeOf(b), s.lanes(func(device int) []*tensors.Tensor {
			return join(s.frozen(device), s.owned.On(device), grads.On(device),
				[]*tensors.Tensor{tensors.FromScalar(s.key(number, i)), tensors.FromScalar(1 / float32(max(targets, 1))),
					tensors.FromScalar(float32(b.Tokens()) / float32(max(tokens, 1)))}, s.inputs(b, device))
		}))
		end()
		if err != nil {
			return nil, nil, err
		}
		if grads != s.zeros {
			grads.Free()
		}
		grads = listOf(s.zeros.Names, outs, 0, n+1)
	}
	end := s.timed(SpanAwait, number)
	sums, err := engine.ReadValues[float32](grads.Tensors[n])
	end()
	if err != nil {
		return nil, nil, fmt.Errorf("loss: not read from the device: %w", err)
	}
	return without(grads, n), sums, nil
}

// shapeOf tells what of a batch a graph is compiled for.
func shapeOf(b data.Batch) string {
	if b.Segments != nil {
		return fmt.Sprintf("%d packed rows of %d tokens", b.Rows, b.Length)
	}
	return fmt.Sprintf("%d rows of %d tokens", b.Rows, b.Length)
}

// key is what the dropout masks of a micro-batch are drawn by.
func (s *stepper) key(step, micro int) uint32 {
	return uint32(rand.NewPCG(uint64(s.seed), uint64(step)<<32|uint64(micro)).Uint64())
}

func (s *stepper) layers() int {
	if s.adapter == nil {
		return 0
	}
	return s.adapter.Layers
}

func (s *stepper) report(batches []data.Batch, sums []float32, norm float32) measured {
	targets, _ := totals(batches)
	r := measured{loss: float64(sums[0]) / float64(max(targets, 1)), norm: float64(norm)}
	for i, layer := range sums[1:] {
		if i < s.layers() {
			r.layers = append(r.layers, float64(layer))
			r.balance += float64(layer)
		} else {
			r.layersZ = append(r.layersZ, float64(layer))
			r.z += float64(layer)
		}
	}
	return r
}

func totals(batches []data.Batch) (targets, tokens int) {
	for _, b := range batches {
		targets += b.Targets
		tokens += b.Tokens()
	}
	return targets, tokens
}

func join(lists ...[]*tensors.Tensor) []*tensors.Tensor { return slices.Concat(lists...) }
