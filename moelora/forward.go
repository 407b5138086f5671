package moelora

import (
	"slices"

	"alphalora/model"
	"alphalora/model/nn"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Mode is how the adapter runs in one graph.
type Mode struct {
	Dropout       float64 // probability that an input of the experts is dropped; 0 outside training
	Key           *Node   // [scalar, uint32] what the dropout masks are drawn by; needed with dropout
	MaskPerExpert bool    // a dropout mask for each expert, as the released code has it, in the place of one for each input
	Recompute     bool    // layers are computed again in the backward pass, as of [model.Decoder]
	Counted       *Node   // [N] true for the tokens that the routing losses count; nil for all
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
	chosen *Node // [E] how many tokens chose each expert; a dense kind's weights again
	weight *Node // [E] the sum of its softmax weights
	square *Node // the sum of (log Σ exp logit)²
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

// Delta implements [model.Delta].
func (b *Bound) Delta(g model.Group) []*Node {
	outs := make([]*Node, len(g.Sites))
	kept := b.targeted(g.Sites)
	if len(kept) == 0 || b.experts(g.Layer, kept[0]) == 0 {
		return outs
	}
	hidden, logits := b.down(g.Layer, kept, g.X) // [N, sites, E, r], [N, sites, E]
	if logits != nil {
		gates := b.route(g.Layer, kept, logits)
		hidden = Mul(hidden, ExpandAxes(ConvertDType(MulScalar(gates, b.Shape.Scale()), hidden.DType()), -1))
	} else {
		hidden = MulScalar(hidden, b.Shape.Scale())
	}
	for i, site := range g.Sites {
		j := slices.Index(kept, site)
		if j < 0 {
			continue
		}
		outs[i] = b.up(g.Layer, site, SliceAxis(hidden, 1, AxisElem(j)))
		if b.Kind.Magnitude {
			outs[i] = b.redirect(g, i, outs[i])
		}
	}
	return outs
}

// down is the one product that the sites of a group share. Without dropout the routers
// ride along in it; with dropout they read the undropped input, as the released code has it.
func (b *Bound) down(layer int, sites []model.Site, x *Node) (hidden, logits *Node) {
	n, e := x.Shape().Dim(0), b.experts(layer, sites[0])
	w := ConvertDType(b.params[downName(layer, sites)], x.DType())
	rows, routers := len(sites)*e*b.Rank, b.routers(layer, sites)
	experts, router := w, w
	if routers > 0 {
		experts, router = SliceAxis(w, 0, AxisRangeFromStart(rows)), SliceAxis(w, 0, AxisRangeToEnd(rows))
	}
	switch {
	case b.Dropout == 0 && routers > 0:
		y := nn.Linear(x, w)
		hidden, logits = SliceAxis(y, 1, AxisRangeFromStart(rows)), SliceAxis(y, 1, AxisRangeToEnd(rows))
	case b.Dropout > 0 && b.MaskPerExpert:
		hidden = b.downApart(x, experts)
	default:
		hidden = nn.Linear(b.drop(x), experts)
	}
	hidden = Reshape(hidden, n, len(sites), e, b.Rank)
	if routers == 0 {
		return hidden, nil
	}
	if logits == nil {
		logits = nn.Linear(x, router)
	}
	return hidden, ConvertDType(Reshape(logits, n, routers, e), dtypes.Float32)
}

// downApart is the product with the A of every expert and projection, each with a dropout
// mask of its own: x [N, in], w [M·r, in] → [N, M·r].
func (b *Bound) downApart(x, w *Node) *Node {
	n, in := x.Shape().Dim(0), x.Shape().Dim(1)
	m := w.Shape().Dim(0) / b.Rank
	dropped := b.drop(BroadcastToDims(ExpandAxes(x, 0), m, n, in))
	y := nn.Contract(dropped, []int{2}, []int{0}, Reshape(w, m, b.Rank, in), []int{2}, []int{0}) // [M, N, r]
	return Reshape(TransposeAllDims(y, 1, 0, 2), n, m*b.Rank)
}

// route turns router logits [N, sites, E] into gates of that shape, and notes what the
// routing losses need.
func (b *Bound) route(layer int, sites []model.Site, logits *Node) *Node {
	top := StopGradient(ReduceAndKeep(logits, ReduceMax, -1))
	weight := Exp(Sub(logits, top))
	total := ReduceAndKeep(weight, ReduceSum, -1)
	probs := Div(weight, total)
	size := Add(Log(total), top)
	if b.Kind.Dense {
		b.note(layer, sites, logits, probs, probs, size)
		return probs
	}
	chosen := Chosen(logits, b.TopK[layer])
	b.note(layer, sites, logits, StopGradient(chosen), probs, size)
	kept := Mul(weight, chosen)
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
	return nn.Product(Reshape(hidden, hidden.Shape().Dim(0), w.Shape().Dim(0)), w)
}

// note keeps the logits and adds up choices and weights, all [N, sites, E], and the
// squares of size, the logarithm of the softmax's denominator [N, sites, 1].
func (b *Bound) note(layer int, sites []model.Site, logits, chosen, weight, size *Node) {
	if b.logits[layer] == nil {
		b.logits[layer] = map[model.Site]*Node{}
	}
	for j, site := range sites {
		b.logits[layer][site] = Squeeze(SliceAxis(logits, 1, AxisElem(j)), 1)
	}
	square := Square(size)
	if b.Counted != nil {
		counted := Reshape(ConvertDType(b.Counted, logits.DType()), -1, 1, 1)
		chosen, weight, square = Mul(chosen, counted), Mul(weight, counted), Mul(square, counted)
	}
	r := &b.layers[layer]
	r.sites += len(sites)
	r.chosen = plus(r.chosen, b.outlives(ReduceSum(chosen, 0, 1)))
	r.weight = plus(r.weight, b.outlives(ReduceSum(weight, 0, 1)))
	r.square = plus(r.square, b.outlives(ReduceAllSum(square)))
}

// outlives marks what is used beyond its layer: without it the routing losses would count as
// part of the layers that are computed again, and ask for all of them before the backward
// pass has begun.
func (b *Bound) outlives(x *Node) *Node {
	if b.Recompute {
		return x.StopCheckpoint()
	}
	return x
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
// where, over all counted tokens and all routers of the layer, f_e is the share of tokens
// that chose expert e (so Σ f = k) and P_e the mean of its softmax weight. It is 1 when
// the load is even; a layer with one expert always has 1, one with none 0. Source: the
// released code, after the Switch Transformer (Fedus et al., 2022). A dense kind chooses
// nothing: there f_e is P_e, and k is 1. n is the number of counted tokens [scalar, f32].
func (b *Bound) Balance(g *Graph, n *Node) []*Node {
	losses := make([]*Node, b.Layers)
	for layer, r := range b.layers {
		e, k := b.Experts[layer], b.TopK[layer]
		if r.chosen == nil {
			losses[layer] = Scalar(g, dtypes.Float32, min(e, 1))
			continue
		}
		if b.Kind.Dense {
			k = 1
		}
		rows := r.rows(n)
		share, mean := Div(r.chosen, rows), Div(r.weight, rows)
		losses[layer] = MulScalar(ReduceAllSum(Mul(share, mean)), float64(e)/float64(k))
	}
	return losses
}

// rows is the number of choices made: n counted tokens at each router.
func (r routing) rows(n *Node) *Node {
	return MaxScalar(MulScalar(n, float32(r.sites)), float32(1))
}

// ZLoss is what keeps the logits of each layer's routers small, to be called after the
// forward pass: the mean of (log Σ_e exp(logit_e))² over counted tokens and routers; 0
// without a choice. Source: Zoph et al., ST-MoE, 2022. n as of [Bound.Balance].
func (b *Bound) ZLoss(g *Graph, n *Node) []*Node {
	losses := make([]*Node, b.Layers)
	for layer, r := range b.layers {
		losses[layer] = ScalarZero(g, dtypes.Float32)
		if r.square != nil {
			losses[layer] = Div(r.square, r.rows(n))
		}
	}
	return losses
}
