package model

import (
	"bytes"
	"fmt"
	"slices"

	"alphalora/internal/fault"
	"alphalora/model/weights"
)

// Names of the tensors outside the layers.
const (
	embedName = "model.embed_tokens.weight"
	normName  = "model.norm.weight"
	headName  = "lm_head.weight"
)

// Names of the tensors of a layer outside the projections.
const (
	inputNorm    = "input_layernorm"
	postAttnNorm = "post_attention_layernorm" // without post-norms it stands before the MLP
	preMLPNorm   = "pre_feedforward_layernorm"
	postMLPNorm  = "post_feedforward_layernorm"
	queryNorm    = "self_attn.q_norm"
	keyNorm      = "self_attn.k_norm"
)

func layerName(layer int, module string) string {
	return fmt.Sprintf("model.layers.%d.%s.weight", layer, module)
}

func biasName(layer int, s Site) string {
	return fmt.Sprintf("model.layers.%d.%s.bias", layer, s.Module())
}

// mlpNorm is the norm before the MLP.
func (d Description) mlpNorm() string {
	if d.PostNorms {
		return preMLPNorm
	}
	return postAttnNorm
}

// place is a tensor that the model holds, and where a checkpoint has it: in rows of the
// tensor File, from Row on.
type place struct {
	weights.Spec
	File   string
	Row    int
	linear bool // a product's weight [out, in]
}

// projects tells whether it is the weight of one of the seven projections.
func (p place) projects() bool { return p.linear && p.Name != headName }

// held lists the tensors that the model holds, in its order.
func (d Description) held() []place {
	var list []place
	add := func(name string, shape ...int) {
		list = append(list, place{weights.Spec{Name: name, Shape: shape}, name, 0, false})
	}
	add(embedName, d.Vocabulary, d.Hidden)
	for layer := range d.Layers {
		add(layerName(layer, inputNorm), d.Hidden)
		for _, site := range Sites() {
			list = append(list, d.projection(layer, site))
			if slices.Contains(d.Biases, site) {
				_, out := d.SiteDims(site)
				add(biasName(layer, site), out)
			}
		}
		if d.QKNorms {
			add(layerName(layer, queryNorm), d.HeadDim)
			add(layerName(layer, keyNorm), d.HeadDim)
		}
		add(layerName(layer, postAttnNorm), d.Hidden)
		if d.PostNorms {
			add(layerName(layer, preMLPNorm), d.Hidden)
			add(layerName(layer, postMLPNorm), d.Hidden)
		}
	}
	add(normName, d.Hidden)
	if !d.Tied {
		add(headName, d.Vocabulary, d.Hidden)
		list[len(list)-1].linear = true
	}
	return list
}

// projection places a site's weight [out, in].
func (d Description) projection(layer int, site Site) place {
	in, out := d.SiteDims(site)
	p := place{weights.Spec{Name: site.WeightName(layer), Shape: []int{out, in}}, site.WeightName(layer), 0, true}
	if !d.Fused {
		return p
	}
	for _, fused := range []struct {
		module string
		sites  []Site
	}{{"self_attn.qkv_proj", []Site{Q, K, V}}, {"mlp.gate_up_proj", []Site{Gate, Up}}} {
		if at := slices.Index(fused.sites, site); at >= 0 {
			p.File = layerName(layer, fused.module)
			for _, before := range fused.sites[:at] {
				_, rows := d.SiteDims(before)
				p.Row += rows
			}
		}
	}
	return p
}

// Specs lists the tensors of a checkpoint. A tied one may carry a copy of its head, and
// old ones the inverse frequencies of each layer, which are not read.
func (d Description) Specs() []weights.Spec {
	var specs []weights.Spec
	for _, p := range d.held() {
		if p.Row > 0 { // the rows of one file's tensor follow each other
			specs[len(specs)-1].Shape[0] += p.Shape[0]
			continue
		}
		specs = append(specs, weights.Spec{Name: p.File, Shape: slices.Clone(p.Shape)})
	}
	if d.Tied {
		specs = append(specs, weights.Spec{Name: headName, Shape: []int{d.Vocabulary, d.Hidden}, Optional: true})
	}
	for layer := range d.Layers {
		specs = append(specs, weights.Spec{Name: fmt.Sprintf("model.layers.%d.self_attn.rotary_emb.inv_freq", layer),
			Shape: []int{len(d.Rope.Inverse)}, Optional: true})
	}
	return specs
}

// Place tells which tensor of a checkpoint holds a site's weight, and from which of its
// rows on.
func (d Description) Place(layer int, site Site) (name string, row int) {
	p := d.projection(layer, site)
	return p.File, p.Row
}

// Parameters is the number of values that a checkpoint has to hold.
func (d Description) Parameters() int {
	total := 0
	for _, spec := range d.Specs() {
		if spec.Optional {
			continue
		}
		n := 1
		for _, dim := range spec.Shape {
			n *= dim
		}
		total += n
	}
	return total
}

// Projection finds a site's weight [out, in] in a checkpoint: a view, where it stands in
// rows of a larger tensor.
func (d Description) Projection(set *weights.Set, layer int, site Site) (weights.Tensor, bool) {
	p := d.projection(layer, site)
	t, ok := set.Get(p.File)
	if !ok || len(t.Shape) != 2 || t.Shape[0] < p.Row+p.Shape[0] {
		return t, false
	}
	return p.view(t), true
}

// view cuts the place out of its tensor, without a copy.
func (p place) view(t weights.Tensor) weights.Tensor {
	if p.File == p.Name {
		return t
	}
	row := len(t.Data) / t.Shape[0]
	t.Name, t.Shape = p.Name, slices.Clone(p.Shape)
	t.Data = t.Data[p.Row*row : (p.Row+p.Shape[0])*row]
	return t
}

// checkTied refuses a tied checkpoint whose head is not its embedding.
func (d Description) checkTied(dir string, set *weights.Set) error {
	head, ok := set.Get(headName)
	if embed, _ := set.Get(embedName); d.Tied && ok && !bytes.Equal(head.Data, embed.Data) {
		return fault.Input(dir, "set tie_word_embeddings to false in config.json",
			"%s differs from %s, though the configuration ties them", headName, embedName)
	}
	return nil
}
