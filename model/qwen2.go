package model

// qwen2 covers Qwen2 and Qwen2.5: queries, keys and values have a bias, and later layers
// may slide a window. Sources: Yang et al., 2024; transformers' Qwen2Config.
var qwen2 = Family{ModelType: "qwen2", Describe: func(c *config) Description {
	d := c.decoder(standard{kvHeads: 32, context: 32768, normEps: 1e-6, activation: "hidden_act", act: "silu"})
	d.Biases = []Site{Q, K, V}
	d.Windows = c.laterWindows(d)
	d.Rope = c.rope(d, plainKinds...)
	return d
}}

// laterWindows reads the window of the layers from max_window_layers on, or of those that
// layer_types names; use_sliding_window switches it on.
func (c *config) laterWindows(d Description) []int {
	window, first := c.window(4096), c.size("max_window_layers", 28)
	if !c.flag("use_sliding_window", false) {
		window = 0
	}
	return c.windowed(d.Layers, window, c.layerTypes(d.Layers, func(layer int) bool { return window > 0 && layer >= first }))
}
