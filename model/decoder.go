package model

import (
	"fmt"
	"slices"

	"alphalora/model/nn"
	"alphalora/model/quant"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Delta is the seam: what an adapter adds to the projections. A nil Delta is the base
// model alone.
type Delta interface {
	// Delta returns what is added to the outputs of a group's sites, in their order:
	// [N, out] each, or nil for nothing.
	Delta(g Group) []*Node
}

// Group is what a [Delta] is told: the projections of a layer that read the same input,
// so that an adapter can share work between them.
type Group struct {
	Layer  int
	Sites  []Site
	X      *Node             // [N, in]
	Base   []*Node           // W·x of each site, without its bias [N, out]
	Weight func(i int) *Node // W of a site [out, in]
}

// MLPDelta is a [Delta] that can change an MLP as a whole.
type MLPDelta interface {
	// MLP returns the output [N, C] of a layer's MLP on x [N, C], or nil to have its
	// projections changed one by one.
	MLP(layer int, x *Node, m MLP) *Node
}

// MLP is what the base does in a layer's MLP.
type MLP struct {
	Linear   func(site Site, x *Node) *Node // W·x with its bias: [N, in] → [N, out]
	Activate func(x *Node) *Node
}

// Adapter is an adapter outside any graph.
type Adapter interface {
	// Owned lists the adapter's variables.
	Owned() *Params
	// Attach places the adapter, whose variables are params, into a graph.
	Attach(params map[string]*Node) Delta
}

// Decoder is a model inside one graph.
type Decoder struct {
	Description
	Weights    map[string]*Node // by the checkpoint's names
	InOut      bool             // as of [Model]
	Quant      quant.Kind       // how the projections are stored
	Delta      Delta            // nil: the base model alone
	Checkpoint bool             // recompute each layer in the backward pass, to save memory
	Full       bool             // the base itself trains, its embedding too
	Flash      bool             // attention by [nn.Flash], as [Model.FlashRefusal] allows it
	Lengths    *Node            // the tokens of each row that is padded on the right [B]; nil: none is
	MaxScores  int              // scores of the vocabulary that a loss holds at once; 0: [MaxScores]
	Devices    int              // that share the rows, 0 and 1: one; the same result, its losses cut so that each computes its own
	Segments   *Node            // which text of its row a token belongs to [B, T], none of which sees another; nil: a row is one text
}

// remember takes a layer's fresh keys and values [B, K, T, D] and returns all that its
// queries may look at [B, K, S, D].
type remember func(layer int, k, v *Node) (keys, values *Node)

// Forward runs whole rows: ids [B, T] → the hidden state after the last norm [N, C].
// pads [B] counts each row's left padding; nil for none.
func (d *Decoder) Forward(ids, pads *Node) *Node {
	at := d.whole(ids.Graph(), ids.Shape().Dim(0), ids.Shape().Dim(1), pads)
	return d.run(ids, at, func(_ int, k, v *Node) (*Node, *Node) { return k, v })
}

// run is the decoder: embedding, layers, last norm.
func (d *Decoder) run(ids *Node, at *tokens, memory remember) *Node {
	x := d.embed(ids)
	rope := at.rotation(d.Rope)
	local := rope
	if d.LocalRope != nil {
		local = at.rotation(*d.LocalRope)
	}
	for layer := range d.Layers {
		if d.Checkpoint {
			x = x.Checkpoint()
		}
		if d.Window(layer) > 0 {
			x = d.layer(layer, x, local, at, memory)
		} else {
			x = d.layer(layer, x, rope, at, memory)
		}
	}
	if d.Checkpoint {
		x = x.StopCheckpoint()
	}
	return d.norm(x, normName)
}

// norm is the RMS norm over the last axis, with the weight of that name.
func (d *Decoder) norm(x *Node, name string) *Node {
	return nn.RMSNorm(x, d.Weights[name], d.NormEps, d.NormOffset)
}

// maxOneHot is the largest vocabulary whose embedding trains through a one-hot product:
// the gradient of a look-up is a scatter, which XLA runs row by row on a CPU.
const maxOneHot = 8192

// embed looks up ids [B, T] → [N, C].
func (d *Decoder) embed(ids *Node) *Node {
	table, n := together(d.Weights[embedName], nil), ids.Shape().Size()
	var x *Node
	if d.Full && d.Vocabulary <= maxOneHot {
		x = MatMul(OneHot(Reshape(ids, n), d.Vocabulary, table.DType()), table)
	} else {
		x = Gather(table, Reshape(ids, n, 1))
	}
	if d.EmbedScale != 1 {
		x = MulScalar(x, d.EmbedScale)
	}
	return x
}

// layer is x + attention(norm(x)), then x + mlp(norm(x)), where a family may norm what
// is added too: x [N, C] → [N, C].
func (d *Decoder) layer(i int, x *Node, r rotation, at *tokens, memory remember) *Node {
	a := d.attention(i, d.norm(x, layerName(i, inputNorm)), r, at, memory)
	if d.PostNorms {
		a = d.norm(a, layerName(i, postAttnNorm))
	}
	x = Add(x, a)
	m := d.mlp(i, d.norm(x, layerName(i, d.mlpNorm())))
	if d.PostNorms {
		m = d.norm(m, layerName(i, postMLPNorm))
	}
	return Add(x, m)
}

// attention lets every token look back: x [N, C] → [N, C].
func (d *Decoder) attention(i int, x *Node, r rotation, at *tokens, memory remember) *Node {
	t := r.cos.Shape().Dim(1)
	b := x.Shape().Dim(0) / t
	qkv := d.project(i, []Site{Q, K, V}, x)
	q := Reshape(qkv[0], b, t, d.Heads, d.HeadDim)
	k := Reshape(qkv[1], b, t, d.KVHeads, d.HeadDim)
	v := Reshape(qkv[2], b, t, d.KVHeads, d.HeadDim)
	if d.QKNorms {
		q, k = d.norm(q, layerName(i, queryNorm)), d.norm(k, layerName(i, keyNorm))
	}
	q, k = nn.Rotate(q, r.cos, r.sin), nn.Rotate(k, r.cos, r.sin)
	keys, values := memory(i, TransposeAllDims(k, 0, 2, 1, 3), TransposeAllDims(v, 0, 2, 1, 3)) // [B, K, T, D]
	var a *Node
	if d.Flash {
		a = nn.Flash(q, keys, values, d.AttentionScale)
	} else {
		a = nn.Attention(q, keys, values, at.seen(d.Window(i)), d.AttentionScale, d.AttentionCap)
	}
	return d.project(i, []Site{O}, Reshape(a, b*t, d.Heads*d.HeadDim))[0]
}

// mlp is down(activation(gate(x)) · up(x)): x [N, C] → [N, C].
func (d *Decoder) mlp(i int, x *Node) *Node {
	if whole, ok := d.Delta.(MLPDelta); ok {
		base := func(site Site, x *Node) *Node { return d.bias(i, site, d.base(i, site, x)) }
		if y := whole.MLP(i, x, MLP{base, d.activate}); y != nil {
			return y
		}
	}
	gu := d.project(i, []Site{Gate, Up}, x)
	return d.project(i, []Site{Down}, Mul(d.activate(gu[0]), gu[1]))[0]
}

// project computes the projections of x that read the same input: base + delta.
func (d *Decoder) project(layer int, sites []Site, x *Node) []*Node {
	base, outs := make([]*Node, len(sites)), make([]*Node, len(sites))
	for i, site := range sites {
		base[i] = d.base(layer, site, x)
		outs[i] = d.bias(layer, site, base[i])
	}
	if d.Delta == nil {
		return outs
	}
	group := Group{layer, sites, x, base, func(i int) *Node { return d.Weight(layer, sites[i], x) }}
	for i, delta := range d.Delta.Delta(group) {
		if delta != nil {
			outs[i] = Add(outs[i], delta)
		}
	}
	return outs
}

// bias adds a projection's bias to its product, where it has one.
func (d *Decoder) bias(layer int, site Site, y *Node) *Node {
	if !slices.Contains(d.Biases, site) {
		return y
	}
	return nn.AddBias(y, d.Weights[biasName(layer, site)])
}

// base is the product with a projection's weight: x [N, in] → [N, out].
func (d *Decoder) base(layer int, site Site, x *Node) *Node {
	if q, ok := d.quantised(layer, site); ok {
		return q.product(x)
	}
	return d.linear(x, site.WeightName(layer))
}

// Weight is a projection's weight [out, in]. One that is stored in few bits is made in the
// number format of after, when that is there; after nil, in f32.
func (d *Decoder) Weight(layer int, site Site, after *Node) *Node {
	if q, ok := d.quantised(layer, site); ok {
		return q.weight(after)
	}
	w := together(d.Weights[site.WeightName(layer)], nil)
	if d.InOut {
		return TransposeAllDims(w, 1, 0)
	}
	return w
}

// linear is the product with the weight of that name: x [N, in] → [N, out].
func (d *Decoder) linear(x *Node, name string) *Node {
	w := together(d.Weights[name], x)
	if d.InOut {
		return nn.Product(x, w)
	}
	return nn.Linear(x, w)
}

func (d *Decoder) activate(x *Node) *Node {
	switch d.Activation {
	case GELU:
		return nn.GELU(x)
	case GELUTanh:
		return nn.GELUTanh(x)
	default:
		return nn.SiLU(x)
	}
}

// headWeight names the weight that makes scores of hidden states.
func (d *Decoder) headWeight() string {
	if d.Tied {
		return embedName
	}
	return headName
}

// Logits maps hidden states [N, C] to f32 scores of the vocabulary [N, V].
func (d *Decoder) Logits(hidden *Node) *Node {
	var logits *Node
	if d.Tied {
		logits = nn.Linear(hidden, together(d.Weights[d.headWeight()], hidden))
	} else {
		logits = d.linear(hidden, d.headWeight())
	}
	logits = ConvertDType(logits, dtypes.Float32)
	if d.LogitCap > 0 {
		logits = nn.SoftCap(logits, d.LogitCap)
	}
	return logits
}

// Router is a [Delta] that chooses among experts.
type Router interface {
	// RouterLogits returns the scores [N, E] of a projection's router, after the forward
	// pass; nil where there is no choice.
	RouterLogits(layer int, site Site) *Node
}

// RouterLogits lists the router scores of a forward pass that was built, each named
// "LAYER.SITE"; none without an adapter that routes.
func (d *Decoder) RouterLogits() (names []string, logits []*Node) {
	r, ok := d.Delta.(Router)
	if !ok {
		return nil, nil
	}
	for layer := range d.Layers {
		for _, site := range Sites() {
			if n := r.RouterLogits(layer, site); n != nil {
				names, logits = append(names, fmt.Sprintf("%d.%s", layer, site)), append(logits, n)
			}
		}
	}
	return names, logits
}
