package train

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"alphalora/internal/engine"
	"alphalora/model"
	"alphalora/model/nn"
	"alphalora/moelora"
	"alphalora/train/data"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
)

// NotFinite is the error of a step whose loss or gradients are not finite. Such a step
// moves nothing: the variables are those with which it went wrong, so that the step can be
// computed once more, layer by layer, to find out where it does.
type NotFinite struct {
	Step       int // from 1
	Loss, Norm float64
	Place      string   // the first place that is not finite
	Samples    []string // the samples of the rows in which it is not
	Checkpoint string   // the last good one; empty: none
}

// namedSamples is how many samples an error names.
const namedSamples = 8

func (n *NotFinite) Error() string {
	text := fmt.Sprintf("step %d: loss %v, gradient norm %v: not finite first in %s", n.Step, n.Loss, n.Norm, n.Place)
	if len(n.Samples) > 0 {
		shown := n.Samples[:min(len(n.Samples), namedSamples)]
		text += ", with " + strings.Join(shown, ", ")
		if more := len(n.Samples) - len(shown); more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
	}
	if n.Checkpoint != "" {
		return text + fmt.Sprintf(" (look at these records, or start a new run from %s, by adapter.from, with a lower learning rate)", n.Checkpoint)
	}
	return text + " (look at these records, or lower the learning rate)"
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// failed tells of a run that the engine or its driver ended what to do about it, and what is
// kept. Other errors it leaves alone.
func (k *keeper) failed(err error) error {
	if !engine.Broke(err) {
		return err
	}
	do := engine.Remedy(err)
	if k.saved > 0 {
		do += "; " + filepath.Clean(k.path(k.saved)) + " is whole: go on with --resume"
	}
	return fmt.Errorf("%w (%s)", err, do)
}

// explain completes the error of a step.
func (k *keeper) explain(err error, step int, batches []data.Batch, where func(sample int) string) error {
	var bad *NotFinite
	if !errors.As(err, &bad) {
		return k.failed(err)
	}
	if k.saved > 0 {
		bad.Checkpoint = filepath.Clean(k.path(k.saved))
	}
	place, samples, failed := k.diagnose(step+1, batches)
	if failed != nil {
		return errors.Join(bad, fmt.Errorf("step %d could not be looked into: %w", step+1, failed))
	}
	bad.Place = place
	for _, i := range samples {
		name := fmt.Sprintf("sample %d", i)
		if where != nil {
			name = where(i)
		}
		bad.Samples = append(bad.Samples, name)
	}
	return bad
}

// diagnose computes a step again, and finds the first place whose values are not finite and
// the samples in whose rows they are not.
func (s *stepper) diagnose(number int, batches []data.Batch) (place string, samples []int, err error) {
	for micro, b := range batches {
		names, sound, err := s.forward(number, micro, b)
		if err != nil {
			return "", nil, err
		}
		for i, name := range names {
			for row := range b.Rows {
				if !sound[i*b.Rows+row] {
					place = name
					samples = append(samples, b.Samples[row]...)
				}
			}
			if place != "" {
				return place, samples, nil
			}
		}
	}
	return s.diagnoseGradients(number, batches)
}

// diagnoseGradients looks for the first gradient of the backward pass, which goes from the
// last variable to the first, that is not finite. Where all are, it names the largest: the
// square of a number above 2⁶⁴ is too large for f32, and so is the norm.
func (s *stepper) diagnoseGradients(number int, batches []data.Batch) (place string, samples []int, err error) {
	largest := -1.0
	for micro, b := range batches {
		grads, sums, err := s.gradients(number, batches[micro:micro+1])
		if err != nil {
			return "", nil, err
		}
		defer grads.Free()
		if at := slices.IndexFunc(sums[1:], func(v float32) bool { return !finite(float64(v)) }); at >= 0 {
			kind := []string{"balance loss", "z-loss"}[at/s.layers()]
			return fmt.Sprintf("layer %d, its %s", at%s.layers(), kind), slices.Concat(b.Samples...), nil
		}
		for i, name := range slices.Backward(grads.Names) {
			values, err := model.Float32s(grads.Tensors[i])
			if err != nil {
				return "", nil, err
			}
			for _, v := range values {
				if !finite(float64(v)) {
					return "the gradient of " + name, slices.Concat(b.Samples...), nil
				}
				if size := math.Abs(float64(v)); size > largest {
					largest, samples = size, slices.Concat(b.Samples...)
					place = fmt.Sprintf("the sum of all gradients, which are finite, the largest %.3g in that of %s", size, name)
				}
			}
		}
	}
	return place, samples, nil
}

// forward runs one micro-batch and returns the places of the forward pass in their order,
// and whether each row [B] is finite there.
func (s *stepper) forward(number, micro int, b data.Batch) (names []string, sound []bool, err error) {
	var places *tap
	look, err := s.compile("look at a step", func(inputs []*Node) []*Node {
		places = s.tapped(inputs)
		flags := make([]*Node, len(places.nodes))
		for i, x := range places.nodes {
			x = Reshape(x, b.Rows, -1)
			flags[i] = Equal(ReduceSum(ConvertDType(IsFinite(x), dtypes.Int32), -1), Scalar(x.Graph(), dtypes.Int32, x.Shape().Dim(1)))
		}
		return []*Node{Stack(flags, 0)} // [places, B]
	}, s.layout(s.owned.Len()+1)...)
	if err != nil {
		return nil, nil, err
	}
	defer look.Finalize()
	outs, err := look.call(shapeOf(b), s.lanes(func(device int) []*tensors.Tensor {
		return join(s.frozen(device), s.owned.On(device), []*tensors.Tensor{tensors.FromScalar(s.key(number, micro))}, s.inputs(b, device))
	}))
	if err != nil {
		return nil, nil, err
	}
	sound, err = engine.ReadValues[bool](outs[0][0])
	return places.names, sound, err
}

// tapped builds the forward pass of the accumulate graph, with a tap at every projection.
func (s *stepper) tapped(inputs []*Node) *tap {
	d := s.model.Decoder(nil)
	d.Full = s.adapter == nil
	if s.adapter != nil {
		d.Weights, inputs = s.model.Nodes(inputs)
	}
	params, rest := s.owned.Nodes(inputs)
	key, rest := rest[0], rest[1:]
	ids, labels := place(d, rest)
	t := &tap{}
	if s.adapter == nil {
		d.Weights = params
	} else {
		t.inner = s.adapter.Bind(params, moelora.Mode{Dropout: s.dropout, Key: key, MaskPerExpert: s.maskPerExpert})
	}
	d.Delta = t
	hidden := d.Forward(ids, nil)
	t.add("the last norm", hidden)
	logits := d.Logits(hidden)
	t.add("the logits", logits)
	t.add("the loss", nn.CrossEntropy(logits, nextLabels(labels)))
	return t
}

// tap is a [model.Delta] that notes what passes the seam, and lets it pass.
type tap struct {
	inner *moelora.Bound // nil: none
	names []string
	nodes []*Node // [N, ...]
}

func (t *tap) add(name string, x *Node) {
	t.names, t.nodes = append(t.names, name), append(t.nodes, x)
}

// Delta implements [model.Delta].
func (t *tap) Delta(g model.Group) []*Node {
	for _, site := range g.Sites[:1] {
		t.add(fmt.Sprintf("layer %d, the input of %s", g.Layer, site), g.X)
	}
	for i, site := range g.Sites {
		t.add(fmt.Sprintf("layer %d, the base's output of %s", g.Layer, site), g.Base[i])
	}
	outs := make([]*Node, len(g.Sites))
	if t.inner != nil {
		outs = t.inner.Delta(g)
	}
	for i, x := range outs {
		if x != nil {
			t.add(fmt.Sprintf("layer %d, the adapter's addition to %s", g.Layer, g.Sites[i]), x)
		}
	}
	return outs
}

// MLP implements [model.MLPDelta].
func (t *tap) MLP(layer int, x *Node, m model.MLP) *Node {
	if t.inner == nil {
		return nil
	}
	y := t.inner.MLP(layer, x, m)
	if y != nil {
		t.add(fmt.Sprintf("layer %d, the input of the MLP", layer), x)
		t.add(fmt.Sprintf("layer %d, the output of the MLP with its experts", layer), y)
	}
	return y
}
