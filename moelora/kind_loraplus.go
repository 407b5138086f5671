package moelora

// LoRAPlus is [LoRA] whose B learns faster than its A: by the factor 16 that the paper
// recommends, or another one of the configuration.
//
// Source: Hayou et al., LoRA+, ICML 2024.
var LoRAPlus = Kind{Name: "lora-plus", Single: true, RateRatio: 16}
