package moelora

// LoRAMoE routes softly: every expert serves every token.
//
//	p = softmax(R·x) in f32;  Δ(x) = (α/r) · Σ_e p_e · B_e·A_e·x
//
// Its balance loss is E · Σ_e P_e², P_e the mean of p_e: 1 when even, 1 plus the squared
// coefficient of variation otherwise, as the paper's localized constraint for data of one
// type, but for its scale. The paper puts experts on the MLP alone: set the targets so.
//
// Source: Dou et al., LoRAMoE, ACL 2024.
var LoRAMoE = Kind{Name: "loramoe", Dense: true}
