package moelora

import (
	"fmt"
	"slices"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/model"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
)

// MaxPaired is the most experts of a projection whose pairs are counted: the E² numbers
// of more would be no picture.
const MaxPaired = 64

// Census counts how adapters of one base model and one shape route the tokens of batches.
//
// The counting is part of the graph of the forward pass: for each row of a batch come
// back the sums over its real tokens, never what a single token chose. The sets that the
// tokens chose stay on the device, where the next adapter of the census is compared with
// them. The rows are added up on the host in float64, so that how rows are put into
// batches changes nothing but the rounding of the products before the routers.
type Census struct {
	model    *model.Model
	adapters []*Adapter
	branches []branch
	exec     *Exec
	tallies  [][]*Tally // of each adapter, by layer and site
}

// branch is the routed projections of a layer.
type branch struct {
	layer, experts int
	sites          []model.Site
}

// columns is the number of sums of a projection, pairs aside.
func (b branch) columns(compared bool) int {
	if compared {
		return 3*b.experts + 4
	}
	return 3*b.experts + 2
}

// NewCensus prepares a census of adapters of one shape, the oldest first. Adapters that
// route nothing are bad input.
func NewCensus(m *model.Model, adapters []*Adapter) (*Census, error) {
	c := &Census{model: m, adapters: adapters}
	if err := c.survey(); err != nil {
		return nil, err
	}
	if len(c.branches) == 0 {
		return nil, fault.Input("adapter", "give one whose layers have several experts", "has no routed layer: nothing is chosen there")
	}
	for range adapters {
		var list []*Tally
		for _, b := range c.branches {
			for _, site := range b.sites {
				t := &Tally{Layer: b.layer, TopK: adapters[0].TopK[b.layer], Site: site,
					Chosen: make([]float64, b.experts), Weight: make([]float64, b.experts), First: make([]float64, b.experts)}
				if b.experts <= MaxPaired {
					t.Pairs = make([]float64, b.experts*b.experts)
				}
				list = append(list, t)
			}
		}
		c.tallies = append(c.tallies, list)
	}
	var err error
	if c.exec, err = NewExec(m.Engine.Backend, c.graph); err != nil {
		return nil, err
	}
	c.exec.WithName("census").SetMaxCache(-1)
	return c, nil
}

// Close frees the compiled graphs.
func (c *Census) Close() { c.exec.Finalize() }

// Tallies are the sums so far of the adapter of that number, by layer and site.
func (c *Census) Tallies(adapter int) []*Tally { return c.tallies[adapter] }

// compared tells whether adapters are held against earlier ones.
func (c *Census) compared() bool { return len(c.adapters) > 1 }

// forward runs rows [B, T] that are padded on the right through the first len inputs, and
// returns the adapter bound there and the other inputs.
func (c *Census) forward(inputs []*Node) (bound *Bound, rest []*Node) {
	named, inputs := c.model.Nodes(inputs)
	d := c.model.Decoder(named)
	params, rest := c.adapters[0].Params.Nodes(inputs)
	bound = c.adapters[0].Bind(params, Mode{})
	d.Delta, d.Lengths = bound, rest[1]
	d.Forward(rest[0], nil)
	return bound, rest
}

// survey finds what is routed: it builds the graph of two tokens and runs nothing.
func (c *Census) survey() error {
	return engine.Try(func() {
		g := NewGraph(c.model.Engine.Backend, "survey")
		defer g.Finalize()
		list := append(c.model.Shapes(), c.adapters[0].Params.Shapes()...)
		list = append(list, shapes.Make(dtypes.Int32, 1, 2), shapes.Make(dtypes.Int32, 1))
		inputs := make([]*Node, len(list))
		for i, s := range list {
			inputs[i] = Parameter(g, fmt.Sprintf("input%d", i), s)
		}
		bound, _ := c.forward(inputs)
		for layer := range c.model.Layers {
			b := branch{layer: layer}
			for _, site := range model.Sites() {
				if n := bound.RouterLogits(layer, site); n != nil {
					b.sites, b.experts = append(b.sites, site), n.Shape().Dim(-1)
				}
			}
			if len(b.sites) > 0 {
				c.branches = append(c.branches, b)
			}
		}
	})
}

// graph counts one batch. Inputs: base weights, adapter, ids [B, T], lengths [B] and,
// where adapters are compared, the sets chosen under the first and the previous one
// [N, W], W the experts of all routed projections. Outputs: the sums of each row [B, ...]
// and, where compared, the chosen sets [N, W].
func (c *Census) graph(inputs []*Node) []*Node {
	bound, rest := c.forward(inputs)
	ids, lengths, before := rest[0], rest[1], rest[2:]
	b, t := ids.Shape().Dim(0), ids.Shape().Dim(1)
	at := Iota(ids.Graph(), shapes.Make(dtypes.Int32, b, t), 1)
	counted := Reshape(LessThan(at, BroadcastToDims(Reshape(lengths, b, 1), b, t)), b, t, 1, 1)

	var sums, sets []*Node
	from := 0
	for _, l := range c.branches {
		logits := make([]*Node, len(l.sites))
		for j, site := range l.sites {
			logits[j] = bound.RouterLogits(l.layer, site)
		}
		dims := []int{b, t, len(l.sites), l.experts}
		width := len(l.sites) * l.experts
		var earlier []*Node
		for _, s := range before {
			earlier = append(earlier, Reshape(SliceAxis(s, 1, AxisRange(from, from+width)), dims...))
		}
		from += width
		chosen, part := count(Reshape(Stack(logits, 1), dims...), bound.TopK[l.layer], counted, earlier)
		for _, p := range part {
			sums = append(sums, Reshape(p, b, -1))
		}
		sets = append(sets, Reshape(chosen, b*t, width))
	}
	outs := []*Node{Concatenate(sums, 1)}
	if c.compared() {
		outs = append(outs, Concatenate(sets, 1))
	}
	return outs
}

// count sums over the counted [B, T, 1, 1] positions of each row what the routers of a
// layer, with logits [B, T, sites, E], choose. The parts are what a [Tally] holds:
// [B, sites, 3E+2, or 3E+4 where there are earlier sets], then the pairs [B, sites, E, E].
func count(logits *Node, k int, counted *Node, earlier []*Node) (sets *Node, parts []*Node) {
	p, chosen, first := Softmax(logits), Chosen(logits, k), Chosen(logits, 1)
	gate := Div(ReduceAndKeep(Mul(p, first), ReduceSum, -1), ReduceAndKeep(Mul(p, chosen), ReduceSum, -1))
	entropy := Neg(ReduceAndKeep(Mul(p, LogSoftmax(logits)), ReduceSum, -1))
	columns := []*Node{chosen, p, first, gate, entropy}
	sets = GreaterThan(chosen, ZerosLike(chosen))
	for _, e := range earlier {
		changed := ExpandAxes(ReduceLogicalOr(LogicalXor(sets, e), -1), -1)
		columns = append(columns, ConvertDType(changed, logits.DType()))
	}
	real := func(x *Node) *Node {
		return Where(BroadcastToDims(counted, x.Shape().Dimensions...), x, ZerosLike(x))
	}
	parts = []*Node{ReduceSum(real(Concatenate(columns, -1)), 1)}
	if logits.Shape().Dim(-1) <= MaxPaired {
		kept := real(chosen)
		parts = append(parts, Einsum("btse,btsf->bsef", kept, kept))
	}
	return sets, parts
}

// Add counts a batch under every adapter. ids [rows, length] are padded on the right to
// the lengths [rows]; rows of length 0 only fill the shape.
func (c *Census) Add(ids, lengths []int32, rows, length int) error {
	tokens := 0
	for _, n := range lengths {
		tokens += int(n)
	}
	batch := []*tensors.Tensor{tensors.FromFlatDataAndDimensions(ids, rows, length), tensors.FromFlatDataAndDimensions(lengths, rows)}
	var sets []*tensors.Tensor // those of no adapter, then those of each
	if c.compared() {
		sets = append(sets, c.noSets(rows*length))
	}
	defer func() {
		for _, t := range append(batch, sets...) {
			_ = t.FinalizeAll()
		}
	}()
	for i, a := range c.adapters {
		inputs := [][]*tensors.Tensor{c.model.Tensors, a.Params.Tensors, batch}
		if c.compared() {
			inputs = append(inputs, sets[min(i, 1):][:1], sets[i:])
		}
		outs, err := engine.Try1(func() []*tensors.Tensor { return c.exec.MustCall(joined(inputs)...) })
		if err != nil {
			return err
		}
		sets = append(sets, outs[1:]...)
		if err := c.add(i, tokens, outs[0]); err != nil {
			return err
		}
	}
	return nil
}

func joined(lists [][]*tensors.Tensor) []any {
	var all []any
	for _, t := range slices.Concat(lists...) {
		all = append(all, t)
	}
	return all
}

// noSets stands for the sets of n tokens before the first adapter.
func (c *Census) noSets(n int) *tensors.Tensor {
	width := 0
	for _, b := range c.branches {
		width += len(b.sites) * b.experts
	}
	return tensors.FromShape(shapes.Make(dtypes.Bool, n, width))
}

// add takes the sums of each row [B, ...] into an adapter's tallies.
func (c *Census) add(adapter, tokens int, sums *tensors.Tensor) error {
	flat, err := engine.ReadValues[float32](sums)
	_ = sums.FinalizeAll()
	if err != nil {
		return fmt.Errorf("routing: not read from the device: %w", err)
	}
	for _, t := range c.tallies[adapter] {
		t.Tokens += tokens
	}
	for len(flat) > 0 {
		rest := c.tallies[adapter]
		for _, b := range c.branches {
			for _, t := range rest[:len(b.sites)] {
				flat = t.add(flat, c.compared() && adapter > 0, b.columns(c.compared()))
			}
			for _, t := range rest[:len(b.sites)] {
				flat = addTo(t.Pairs, flat)
			}
			rest = rest[len(b.sites):]
		}
	}
	return nil
}

// add takes one row's sums from the front of flat and returns the rest; those that
// compare count where there is an earlier adapter.
func (t *Tally) add(flat []float32, later bool, columns int) []float32 {
	row, rest := flat[:columns], flat[columns:]
	for _, into := range [][]float64{t.Chosen, t.Weight, t.First} {
		row = addTo(into, row)
	}
	t.Gate += float64(row[0])
	t.Entropy += float64(row[1])
	if later {
		t.ChangedFirst += float64(row[2])
		t.ChangedPrevious += float64(row[3])
	}
	return rest
}

func addTo(sums []float64, flat []float32) []float32 {
	for i := range sums {
		sums[i] += float64(flat[i])
	}
	return flat[len(sums):]
}
