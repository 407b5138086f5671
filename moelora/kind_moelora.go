package moelora

// MoELoRA is the mixture of AlphaLoRA and MoLA: the formula of the package. How many
// experts a layer has is the allocation's matter, and all that AlphaLoRA and MoLA differ in.
//
// Source: Gao et al., MoLA, 2024; Qing et al., AlphaLoRA, EMNLP 2024.
var MoELoRA = Kind{Name: "moe-lora"}
