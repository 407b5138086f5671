package model

// phi3 covers Phi-3, Phi-3.5 and Phi-4-mini: fused matrices in the checkpoint, a part of
// each head rotated, and other frequencies in rows longer than the pretraining's.
// Sources: Abdin et al., 2024; transformers' Phi3Config.
var phi3 = Family{ModelType: "phi3", Describe: func(c *config) Description {
	d := c.decoder(standard{context: 4096, normEps: 1e-5, activation: "hidden_act", act: "silu"})
	d.Fused = true
	d.Windows = c.windowed(d.Layers, c.window(0), nil)
	c.only("full_attn_mod", 1)
	c.only("interpolate_factor", 1)
	d.Rope = c.phi3Rope(d)
	return d
}}

func (c *config) phi3Rope(d Description) Rope {
	p := c.ropeFields()
	s := ropeShape{context: d.Context, original: c.size("original_max_position_embeddings", 4096)}
	c.original(p, s.original)
	part := p.positive("partial_rotary_factor", c.positive("partial_rotary_factor", 1))
	s.dims = int(float64(d.HeadDim) * part)
	if s.dims < 2 || s.dims%2 != 0 || s.dims > d.HeadDim {
		c.problem("partial_rotary_factor", "%v of head_dim %d leads to %d rotated dimensions: an even number up to head_dim is needed", part, d.HeadDim, s.dims)
		return Rope{}
	}
	s.base = p.positive("rope_theta", c.positive("rope_theta", 10000))
	kind := p.kind()
	if kind == "su" || kind == "yarn" { // older names in this family
		kind = "longrope"
	}
	return p.ropeOf(s, kind, []string{"default", "longrope"})
}
