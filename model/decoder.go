package model

import (
	"fmt"

	"alphalora/model/nn"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Delta is the seam: what an adapter adds to the projections. A nil Delta is the base
// model alone.
type Delta interface {
	// Delta returns what is added to the outputs of sites in a layer, in their order:
	// [N, out] each, or nil for nothing. All sites read x [N, in], so that an adapter
	// can share work between them.
	Delta(layer int, sites []Site, x *Node) []*Node
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
	Delta      Delta            // nil: the base model alone
	Checkpoint bool             // recompute each layer in the backward pass, to save memory
	Full       bool             // the base itself trains, its embedding too
}

// attend maps a layer's query [B, T, H, D] and the fresh keys and values [B, T, K, D]
// to what the queries see: [B, T, H·D].
type attend func(layer int, q, k, v *Node) *Node

// Forward runs whole rows: ids [B, T] → the hidden state after the last norm [N, C].
// pads [B] counts each row's left padding; nil for none.
func (d *Decoder) Forward(ids, pads *Node) *Node {
	b, t := ids.Shape().Dim(0), ids.Shape().Dim(1)
	visible := nn.CausalVisible(ids.Graph(), b, t, pads)
	positions := nn.Positions(ids.Graph(), b, t, pads)
	return d.run(ids, positions, func(_ int, q, k, v *Node) *Node {
		return nn.Attention(q, k, v, visible)
	})
}

// run is the decoder: embedding, layers, last norm.
func (d *Decoder) run(ids, positions *Node, attention attend) *Node {
	x := d.embed(ids)
	cos, sin := nn.RotaryAngles(positions, d.HeadDim, d.RopeBase)
	for layer := range d.Layers {
		if d.Checkpoint {
			x = x.Checkpoint()
		}
		x = d.layer(layer, x, cos, sin, attention)
	}
	if d.Checkpoint {
		x = x.StopCheckpoint()
	}
	return nn.RMSNorm(x, d.Weights[normName], d.NormEps, d.NormOffset)
}

// maxOneHot is the largest vocabulary whose embedding trains through a one-hot product:
// the gradient of a look-up is a scatter, which XLA runs row by row on a CPU.
const maxOneHot = 8192

// embed looks up ids [B, T] → [N, C].
func (d *Decoder) embed(ids *Node) *Node {
	table, n := d.Weights[embedName], ids.Shape().Size()
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

// layer is x + attention(norm(x)), then x + mlp(norm(x)): x [N, C] → [N, C].
func (d *Decoder) layer(i int, x, cos, sin *Node, attention attend) *Node {
	b, t := cos.Shape().Dim(0), cos.Shape().Dim(1)
	h := nn.RMSNorm(x, d.Weights[inputNormName(i)], d.NormEps, d.NormOffset)
	qkv := d.project(i, []Site{Q, K, V}, h)
	q := nn.Rotate(Reshape(qkv[0], b, t, d.Heads, d.HeadDim), cos, sin)
	k := nn.Rotate(Reshape(qkv[1], b, t, d.KVHeads, d.HeadDim), cos, sin)
	v := Reshape(qkv[2], b, t, d.KVHeads, d.HeadDim)
	a := Reshape(attention(i, q, k, v), b*t, d.Heads*d.HeadDim)
	x = Add(x, d.project(i, []Site{O}, a)[0])

	h = nn.RMSNorm(x, d.Weights[mlpNormName(i)], d.NormEps, d.NormOffset)
	gu := d.project(i, []Site{Gate, Up}, h)
	m := Mul(d.activate(gu[0]), gu[1])
	return Add(x, d.project(i, []Site{Down}, m)[0])
}

// project computes the projections of x that read the same input: base + delta.
func (d *Decoder) project(layer int, sites []Site, x *Node) []*Node {
	outs := make([]*Node, len(sites))
	for i, site := range sites {
		outs[i] = nn.Linear(x, d.Weights[site.WeightName(layer)])
	}
	if d.Delta == nil {
		return outs
	}
	for i, delta := range d.Delta.Delta(layer, sites, x) {
		if delta != nil {
			outs[i] = Add(outs[i], delta)
		}
	}
	return outs
}

func (d *Decoder) activate(x *Node) *Node {
	if d.Activation == GELUTanh {
		return nn.GELUTanh(x)
	}
	return nn.SiLU(x)
}

// Logits maps hidden states [N, C] to f32 scores of the vocabulary [N, V].
func (d *Decoder) Logits(hidden *Node) *Node {
	head := d.Weights[headName]
	if d.Tied {
		head = d.Weights[embedName]
	}
	return ConvertDType(nn.Linear(hidden, head), dtypes.Float32)
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
