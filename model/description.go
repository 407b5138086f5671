// Package model says what a decoder is: its [Description] read from config.json, its
// seven projections a layer, the forward pass, and the seam where an adapter adds to a
// projection ([Delta]).
//
// The forward pass is one function for all families; a family is a row of the table in
// family.go that turns a config.json into a Description.
package model

import (
	"fmt"

	"alphalora/model/weights"
)

// Activation of the gated MLP.
type Activation string

// The activations that families use.
const (
	SiLU     Activation = "silu"
	GELUTanh Activation = "gelu_tanh"
)

// Description holds everything that the arithmetic of a decoder depends on.
type Description struct {
	Family       string     `json:"family"`
	Vocabulary   int        `json:"vocabulary"`   // V, rows of the embedding
	Hidden       int        `json:"hidden"`       // C
	Layers       int        `json:"layers"`       //
	Heads        int        `json:"heads"`        // H, query heads
	KVHeads      int        `json:"kv_heads"`     // K, key/value heads; H is a multiple
	HeadDim      int        `json:"head_dim"`     // D
	Intermediate int        `json:"intermediate"` // width of the gated MLP
	Context      int        `json:"context"`      // positions that the checkpoint states
	NormEps      float64    `json:"norm_eps"`     //
	NormOffset   float64    `json:"norm_offset"`  // 0: norm weights multiply; 1: (1 + w)
	EmbedScale   float64    `json:"embed_scale"`  // factor on the embedding; 1 for none
	RopeBase     float64    `json:"rope_base"`    //
	Activation   Activation `json:"activation"`   //
	Tied         bool       `json:"tied"`         // the head is the embedding
}

// SiteDims returns the input and output width of a projection.
func (d Description) SiteDims(s Site) (in, out int) {
	query, kv := d.Heads*d.HeadDim, d.KVHeads*d.HeadDim
	switch s {
	case Q:
		return d.Hidden, query
	case K, V:
		return d.Hidden, kv
	case O:
		return query, d.Hidden
	case Gate, Up:
		return d.Hidden, d.Intermediate
	default:
		return d.Intermediate, d.Hidden
	}
}

// Names of the tensors outside the projections.
const (
	embedName = "model.embed_tokens.weight"
	normName  = "model.norm.weight"
	headName  = "lm_head.weight"
)

func inputNormName(layer int) string {
	return fmt.Sprintf("model.layers.%d.input_layernorm.weight", layer)
}

func mlpNormName(layer int) string {
	return fmt.Sprintf("model.layers.%d.post_attention_layernorm.weight", layer)
}

// Specs lists the tensors of a checkpoint, in the order in which the model holds them.
// A tied checkpoint may carry a copy of its head, which is then not read.
func (d Description) Specs() []weights.Spec {
	specs := []weights.Spec{{Name: embedName, Shape: []int{d.Vocabulary, d.Hidden}}}
	for layer := range d.Layers {
		specs = append(specs, weights.Spec{Name: inputNormName(layer), Shape: []int{d.Hidden}})
		for _, site := range Sites() {
			in, out := d.SiteDims(site)
			specs = append(specs, weights.Spec{Name: site.WeightName(layer), Shape: []int{out, in}})
		}
		specs = append(specs, weights.Spec{Name: mlpNormName(layer), Shape: []int{d.Hidden}})
	}
	specs = append(specs, weights.Spec{Name: normName, Shape: []int{d.Hidden}})
	return append(specs, weights.Spec{Name: headName, Shape: []int{d.Vocabulary, d.Hidden}, Optional: d.Tied})
}
