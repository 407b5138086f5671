package model

import "math"

// gemma covers the first Gemma. Its norms multiply by 1 + w, its embedding is scaled by
// the root of the hidden size and is the head too, its MLP is a GeGLU. Sources: Mesnard
// et al., 2024; transformers' GemmaConfig.
var gemma = Family{ModelType: "gemma", Describe: func(c *config) Description {
	s := gemmaStandard
	s.kvHeads, s.context, s.activation = 16, 8192, "hidden_act"
	d := c.gemma(s)
	if d.Activation == GELU { // what the first checkpoints say, and do not mean
		d.Activation = GELUTanh
	}
	if act := c.text("hidden_activation", "gelu_pytorch_tanh"); activations[act] != d.Activation {
		c.problem("hidden_activation", "is %.40q beside hidden_act %q: make them equal", act, c.text("hidden_act", s.act))
	}
	d.Rope = c.rope(d, plainKinds...)
	return d
}}

var gemmaStandard = standard{kvHeads: 4, headDim: 256, normEps: 1e-6, activation: "hidden_activation", act: "gelu_pytorch_tanh", tied: true}

// gemma describes what the families of that name share.
func (c *config) gemma(s standard) Description {
	d := c.decoder(s)
	d.NormOffset, d.EmbedScale = 1, math.Sqrt(float64(d.Hidden))
	if c.flag("attention_bias", false) {
		d.Biases = append(d.Biases, Q, K, V, O)
	}
	return d
}
