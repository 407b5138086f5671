package moelora

// LoRA is one expert a layer, without a router:
//
//	Δ(x) = (α/r) · B·A·x
//
// Source: Hu et al., LoRA, 2022.
var LoRA = Kind{Name: "lora", Single: true}
