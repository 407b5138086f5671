package model

import "math"

// gemma3 is the text decoder of Gemma 3. It differs from [gemma2]: queries and keys are
// normed in the place of the cap on their scores, five of six layers slide a window, and
// those rotate on a base of their own. Sources: Kamath et al., 2025; transformers'
// Gemma3TextConfig.
var gemma3 = Family{ModelType: "gemma3_text", Describe: func(c *config) Description {
	s := gemmaStandard
	s.context = 131072
	d := c.gemma(s)
	c.ignore("hidden_act")
	d.PostNorms, d.QKNorms = true, true
	d.AttentionScale = 1 / math.Sqrt(c.positive("query_pre_attn_scalar", 256))
	c.refuse("attn_logit_softcapping", "Gemma 3 norms its queries and keys instead")
	d.LogitCap = c.limit("final_logit_softcapping", 0)
	pattern := c.size("sliding_window_pattern", 6)
	if c.has("layer_types") {
		c.ignore("_sliding_window_pattern")
	}
	slides := c.layerTypes(d.Layers, func(layer int) bool { return (layer+1)%pattern != 0 })
	d.Windows = c.windowed(d.Layers, c.window(4096), slides)
	var local Rope
	d.Rope, local = c.gemma3Ropes(d)
	d.LocalRope = &local
	return d
}}

// gemma3Ropes reads the embedding of the layers that see everything and that of the
// layers with a window: rope_theta, rope_scaling and rope_local_base_freq, or
// rope_parameters by layer type.
func (c *config) gemma3Ropes(d Description) (full, local Rope) {
	p := c.ropeFields()
	f, l := p, &config{read: map[string]bool{}, problems: c.problems}
	if c.has("rope_parameters") {
		f, l = p.object("full_attention"), p.object("sliding_attention")
		p.leftovers(nil)
	}
	kinds := []string{"default", "linear"}
	s := ropeShape{dims: d.HeadDim, context: d.Context, original: d.Context}
	s.base = f.positive("rope_theta", c.positive("rope_theta", 1e6))
	full = f.ropeOf(s, f.kind(), kinds)
	s.base = l.positive("rope_theta", c.positive("rope_local_base_freq", 1e4))
	return full, l.ropeOf(s, l.kind(), kinds)
}
