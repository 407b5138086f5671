package model

import "math"

// gemma2 adds to [gemma]: soft caps on both kinds of scores, a window in every other
// layer, norms behind attention and MLP. Sources: Riviere et al., 2024; transformers'
// Gemma2Config.
var gemma2 = Family{ModelType: "gemma2", Describe: func(c *config) Description {
	s := gemmaStandard
	s.context = 8192
	d := c.gemma(s)
	c.ignore("hidden_act")
	d.PostNorms = true
	d.AttentionScale = 1 / math.Sqrt(c.positive("query_pre_attn_scalar", 256))
	d.AttentionCap = c.limit("attn_logit_softcapping", 50)
	d.LogitCap = c.limit("final_logit_softcapping", 30)
	window := c.window(4096)
	if c.has("sliding_window_size") { // a second name in the first checkpoints
		c.only("sliding_window_size", float64(window))
	}
	d.Windows = c.windowed(d.Layers, window, c.layerTypes(d.Layers, func(layer int) bool { return layer%2 == 0 }))
	d.Rope = c.rope(d, plainKinds...)
	return d
}}
