package model

// llama covers Llama-2, TinyLlama and other checkpoints of that shape without RoPE
// scaling. Source: Touvron et al., 2023, and the fields of transformers' LlamaConfig.
var llama = Family{ModelType: "llama", Describe: func(c *config) Description {
	if act := c.text("hidden_act", "silu"); act != "silu" {
		c.problem("hidden_act is %q: llama uses silu", act)
	}
	c.refuse("attention_bias", "llama's projections have no bias here")
	c.refuse("mlp_bias", "llama's projections have no bias here")
	d := Description{
		Vocabulary:   c.size("vocab_size", 0),
		Hidden:       c.size("hidden_size", 0),
		Layers:       c.size("num_hidden_layers", 0),
		Heads:        c.size("num_attention_heads", 0),
		Intermediate: c.size("intermediate_size", 0),
		Context:      c.size("max_position_embeddings", 2048),
		NormEps:      c.positive("rms_norm_eps", 1e-6),
		EmbedScale:   1,
		RopeBase:     c.ropeBase(),
		Activation:   SiLU,
		Tied:         c.flag("tie_word_embeddings", false),
	}
	d.KVHeads = c.size("num_key_value_heads", max(d.Heads, 1))
	d.HeadDim = c.size("head_dim", max(d.Hidden/max(d.Heads, 1), 1))
	if !c.has("head_dim") && d.Heads > 0 && d.Hidden%d.Heads != 0 {
		c.problem("hidden_size %d is not a multiple of num_attention_heads %d", d.Hidden, d.Heads)
	}
	return d
}}
