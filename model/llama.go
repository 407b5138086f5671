package model

// llama covers Llama-2, Llama-3 to 3.2, TinyLlama and other checkpoints of that shape.
// Sources: Touvron et al., 2023; Grattafiori et al., 2024; transformers' LlamaConfig.
var llama = Family{ModelType: "llama", Describe: func(c *config) Description {
	d := c.decoder(standard{context: 2048, normEps: 1e-6, activation: "hidden_act", act: "silu"})
	if c.flag("attention_bias", false) {
		d.Biases = append(d.Biases, Q, K, V, O)
	}
	if c.flag("mlp_bias", false) {
		d.Biases = append(d.Biases, Gate, Up, Down)
	}
	d.Rope = c.rope(d, plainKinds...)
	return d
}}
