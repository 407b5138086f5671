package moelora

import (
	"alphalora/model"
	"alphalora/model/nn"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Mode is how the adapter runs in one graph.
type Mode struct {
	Dropout float64 // probability that an input of the experts is dropped; 0 outside training
	Key     *Node   // [scalar, uint32] what the dropout masks are drawn by; needed with dropout
	Counted *Node   // [N] true for the tokens that the balance loss counts; nil for all
}

// Bound is an adapter inside one graph. It implements [model.Delta].
type Bound struct {
	*Adapter
	Mode
	params map[string]*Node
	layers []routing
	masks  uint32 // dropout masks so far
	logits map[int]map[model.Site]*Node
}

// routing sums what the balance loss of one layer needs, over its projections.
type routing struct {
	sites  int
	chosen *Node // [E] how many tokens chose each expert
	weight *Node // [E] the sum of its softmax weights
}

// Bind places the adapter, whose variables are params, into a graph.
func (a *Adapter) Bind(params map[string]*Node, mode Mode) *Bound {
	return &Bound{Adapter: a, Mode: mode, params: params,
		layers: make([]routing, a.Layers), logits: map[int]map[model.Site]*Node{}}
}

// Owned implements [model.Adapter].
func (a *Adapter) Owned() *model.Params { return a.Params }

// Attach implements [model.Adapter]: the adapter as it runs outside training.
func (a *Adapter) Attach(params map[string]*Node) model.Delta { return a.Bind(params, Mode{}) }

// Delta implements [model.Delta]: x [N, in] → [N, out] for each site.
func (b *Bound) Delta(layer int, sites []model.Site, x *Node) []*Node {
	kept := b.targeted(sites)
	if b.Experts[layer] == 0 || len(kept) == 0 {
		return make([]*Node, len(sites))
	}
	hidden, logits := b.down(layer, kept, x) // [N, sites, E, r], [N, sites, E]
	if logits != nil {
		gates := b.route(layer, kept, logits)
		hidden = Mul(hidden, ExpandAxes(ConvertDType(MulScalar(gates, b.Scale()), hidden.DType()), -1))
	} else {
		hidden = MulScalar(hidden, b.Scale())
	}
	outs := make([]*Node, len(sites))
	for i, site := range sites {
		for j, s := range kept {
			if s == site {
				outs[i] = b.up(layer, site, SliceAxis(hidden, 1, AxisElem(j)))
			}
		}
	}
	return outs
}

// down is the one product that the sites of a group share. Without dropout the routers
// ride along in it; with dropout they read the undropped input, as the released code has it.
func (b *Bound) down(layer int, sites []model.Site, x *Node) (hidden, logits *Node) {
	n, e := x.Shape().Dim(0), b.Experts[layer]
	w := ConvertDType(b.params[downName(layer, sites)], x.DType())
	rows := len(sites) * e * b.Rank
	shapeH := []int{n, len(sites), e, b.Rank}
	if !b.routed(layer) {
		return Reshape(nn.Linear(b.drop(x), w), shapeH...), nil
	}
	if b.Dropout == 0 {
		y := nn.Linear(x, w)
		hidden, logits = SliceAxis(y, 1, AxisRangeFromStart(rows)), SliceAxis(y, 1, AxisRangeToEnd(rows))
	} else {
		hidden = nn.Linear(b.drop(x), SliceAxis(w, 0, AxisRangeFromStart(rows)))
		logits = nn.Linear(x, SliceAxis(w, 0, AxisRangeToEnd(rows)))
	}
	return Reshape(hidden, shapeH...), ConvertDType(Reshape(logits, n, len(sites), e), dtypes.Float32)
}

// route turns router logits [N, sites, E] into gates of that shape, and notes what the
// balance loss needs.
func (b *Bound) route(layer int, sites []model.Site, logits *Node) *Node {
	top := StopGradient(ReduceAndKeep(logits, ReduceMax, -1))
	weight := Exp(Sub(logits, top))
	chosen := Chosen(logits, b.TopK[layer])
	kept := Mul(weight, chosen)
	b.note(layer, sites, logits, chosen, Div(weight, ReduceAndKeep(weight, ReduceSum, -1)))
	return Div(kept, ReduceAndKeep(kept, ReduceSum, -1))
}

// Chosen marks the k largest entries of the last axis with 1, the others with 0; of equal
// entries the first ones win. An entry is chosen when fewer than k others beat it: for
// the few experts of a projection that one fused comparison is cheaper than a sort.
func Chosen(x *Node, k int) *Node {
	g, e, rank := x.Graph(), x.Shape().Dim(-1), x.Rank()
	self := ExpandAxes(x, -1)  // [..., E, 1]
	other := ExpandAxes(x, -2) // [..., 1, E]
	square := shapes.Make(dtypes.Int32, e, e)
	before := ExpandLeftToRank(LessThan(Iota(g, square, 1), Iota(g, square, 0)), rank+1)
	dims := append(append([]int{}, x.Shape().Dimensions...), e)
	before = BroadcastToDims(before, dims...)
	beats := Or(GreaterThan(BroadcastToDims(other, dims...), BroadcastToDims(self, dims...)),
		And(Equal(BroadcastToDims(other, dims...), BroadcastToDims(self, dims...)), before))
	place := ReduceSum(ConvertDType(beats, dtypes.Int32), -1)
	return ConvertDType(LessThan(place, Scalar(g, dtypes.Int32, k)), x.DType())
}

// up is the product with all B of a site: hidden [N, 1, E, r] → [N, out].
func (b *Bound) up(layer int, site model.Site, hidden *Node) *Node {
	w := ConvertDType(b.params[upName(layer, site)], hidden.DType())
	return nn.Linear(Reshape(hidden, hidden.Shape().Dim(0), w.Shape().Dim(1)), w)
}

// note keeps the logits and adds up choices and weights, all [N, sites, E].
func (b *Bound) note(layer int, sites []model.Site, logits, chosen, weight *Node) {
	if b.logits[layer] == nil {
		b.logits[layer] = map[model.Site]*Node{}
	}
	for j, site := range sites {
		b.logits[layer][site] = Squeeze(SliceAxis(logits, 1, AxisElem(j)), 1)
	}
	if b.Counted != nil {
		counted := Reshape(ConvertDType(b.Counted, logits.DType()), -1, 1, 1)
		chosen, weight = Mul(chosen, counted), Mul(weight, counted)
	}
	r := &b.layers[layer]
	r.sites += len(sites)
	r.chosen = plus(r.chosen, StopGradient(ReduceSum(chosen, 0, 1)))
	r.weight = plus(r.weight, ReduceSum(weight, 0, 1))
}

func plus(a, b *Node) *Node {
	if a == nil {
		return b
	}
	return Add(a, b)
}

// RouterLogits returns the logits [N, E] of a projection's router, after the forward
// pass; nil where a layer has no choice.
func (b *Bound) RouterLogits(layer int, site model.Site) *Node { return b.logits[layer][site] }

// Balance is the routing loss of each layer, to be called after the forward pass:
//
//	E/k · Σ_e f_e · P_e
//
// where, over all tokens and all projections of the layer, f_e is the share of tokens
// that chose expert e (so Σ f = k) and P_e the mean of its softmax weight. It is 1 when
// the load is even; a layer with one expert always has 1, one with none 0. Source: the
// released code, after the Switch Transformer (Fedus et al., 2022). n is the number of
// counted tokens [scalar, f32].
func (b *Bound) Balance(g *Graph, n *Node) []*Node {
	losses := make([]*Node, b.Layers)
	for layer, r := range b.layers {
		e := b.Experts[layer]
		if r.chosen == nil {
			losses[layer] = Scalar(g, dtypes.Float32, min(e, 1))
			continue
		}
		rows := MaxScalar(MulScalar(n, float32(r.sites)), float32(1))
		share, mean := Div(r.chosen, rows), Div(r.weight, rows)
		losses[layer] = MulScalar(ReduceAllSum(Mul(share, mean)), float64(e)/float64(b.TopK[layer]))
	}
	return losses
}
