package model

// qwen3 differs from [qwen2]: queries and keys are normed, and biases are an option.
// Sources: Yang et al., 2025; transformers' Qwen3Config.
var qwen3 = Family{ModelType: "qwen3", Describe: func(c *config) Description {
	d := c.decoder(standard{kvHeads: 32, headDim: 128, context: 32768, normEps: 1e-6, activation: "hidden_act", act: "silu"})
	d.QKNorms = true
	if c.flag("attention_bias", false) {
		d.Biases = []Site{Q, K, V, O}
	}
	d.Windows = c.laterWindows(d)
	d.Rope = c.rope(d, plainKinds...)
	return d
}}
