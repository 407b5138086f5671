package model

// mistral covers Mistral-7B v0.1, whose layers slide a window, to v0.3, and Nemo, whose
// heads are narrower than hidden size / heads. Sources: Jiang et al., 2023; transformers'
// MistralConfig.
var mistral = Family{ModelType: "mistral", Describe: func(c *config) Description {
	d := c.decoder(standard{kvHeads: 8, context: 131072, normEps: 1e-6, activation: "hidden_act", act: "silu"})
	d.Windows = c.windowed(d.Layers, c.window(4096), nil)
	d.Rope = c.rope(d, plainKinds...)
	return d
}}

// window reads sliding_window: 0 where it is null.
func (c *config) window(standard int) int {
	if c.null("sliding_window") || (standard == 0 && !c.has("sliding_window")) {
		c.read["sliding_window"] = true
		return 0
	}
	return c.size("sliding_window", standard)
}
