package moelora

import (
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/weights"
)

// ExportReleased writes the adapter as the paper's released code saves it. That format
// states neither expert counts nor top-k: who loads it must know them. m is the manifest
// with which the adapter came.
func (a *Adapter) ExportReleased(dir string, m Manifest) error {
	if a.Kind.Name != MoELoRA.Name {
		return fault.Input("--format released", "use --format peft where every layer has one expert",
			"the released code knows moe-lora alone, and this adapter is of kind %s", a.Kind.Name)
	}
	values, err := a.Values()
	if err != nil {
		return err
	}
	ranks := make([]int, a.Layers) // one a layer, all equal
	for layer := range ranks {
		ranks[layer] = a.Rank
	}
	return writeFiles(dir, values, map[string]any{
		"auto_mapping": nil, "base_model_name_or_path": m.Base, "bias": "none", "fan_in_fan_out": false,
		"inference_mode": true, "init_lora_weights": true, "layers_pattern": nil, "layers_to_transform": nil,
		"lora_alpha": a.Alpha, "lora_dropout": m.Dropout, "modules_to_save": nil, "peft_type": releasedType,
		"r": ranks, "revision": nil, "target_modules": m.TargetModules, "task_type": "CAUSAL_LM",
	})
}

// ExportPeft writes an adapter whose layers have one expert each, or none, as the LoRA
// that peft loads. Routers of single experts compute nothing and stay behind.
func (a *Adapter) ExportPeft(dir string, m Manifest) error {
	if list := a.several(); list != "" {
		return fault.Input("--format peft", "use --format released, which keeps experts and routers",
			"a PEFT LoRA has one expert on a module, without a router; these layers have several: %s", list)
	}
	values, err := a.Values()
	if err != nil {
		return err
	}
	out := map[string]weights.Tensor{}
	var layers []int
	var targets []string
	ranks, alphas := map[string]int{}, map[string]float64{}
	for _, at := range places(a.Description) {
		parts := a.adapted(at)
		if len(parts) == 0 {
			continue
		}
		if err := a.joined(out, values, at, parts); err != nil {
			return err
		}
		layers, targets = appendNew(layers, at.layer), appendNew(targets, at.kind())
		if n := len(parts); n > 1 {
			ranks[at.kind()], alphas[at.kind()] = n*a.Rank, a.peftAlpha(n)
		}
	}
	if len(layers) == 0 {
		return fault.Input("--format peft", "there is nothing to export", "no layer of the adapter has an expert")
	}
	config := map[string]any{
		"base_model_name_or_path": m.Base, "bias": "none", "fan_in_fan_out": false, "inference_mode": true,
		"init_lora_weights": true, "layers_to_transform": nil, "lora_alpha": a.peftAlpha(1), "lora_dropout": m.Dropout,
		"modules_to_save": nil, "peft_type": releasedType, "r": a.Rank, "rank_pattern": ranks, "alpha_pattern": alphas,
		"target_modules": targets, "task_type": "CAUSAL_LM", "use_rslora": false, "use_dora": a.Kind.Magnitude,
	}
	if len(layers) < a.Layers {
		config["layers_to_transform"] = layers
	}
	return writeFiles(dir, out, config)
}

func appendNew[T comparable](list []T, v T) []T {
	for _, old := range list {
		if old == v {
			return list
		}
	}
	return append(list, v)
}

// peftAlpha is the α with which a PEFT LoRA of n times the rank has the adapter's scale.
func (a *Adapter) peftAlpha(n int) float64 {
	if a.Scale() == a.Alpha/float64(a.Rank) {
		return a.Alpha * float64(n)
	}
	return a.Scale() * float64(a.Rank*n)
}

// adapted lists the rows of a place that carry an expert.
func (a *Adapter) adapted(at place) []rows {
	var list []rows
	for _, part := range at.parts {
		if a.Experts[at.layer] > 0 && len(a.targeted([]model.Site{part.site})) > 0 {
			list = append(list, part)
		}
	}
	return list
}

// joined adds the LoRA of one place. Where the checkpoint fuses n projections it has n
// times the rank: their A stand below each other, and each B in its rows and columns.
func (a *Adapter) joined(out, values map[string]weights.Tensor, at place, parts []rows) error {
	rank := a.Rank * len(parts)
	down, up := make([]float32, 0, rank*at.in), make([]float32, at.out*rank)
	for j, part := range parts {
		one, err := values[expertName(at.layer, part.site, "A", 0)].Float32s()
		if err != nil {
			return err
		}
		down = append(down, one...)
		b, err := values[expertName(at.layer, part.site, "B", 0)].Float32s()
		if err != nil {
			return err
		}
		for o := range part.size {
			copy(up[(part.from+o)*rank+j*a.Rank:], b[o*a.Rank:(o+1)*a.Rank])
		}
	}
	type values32 struct {
		values []float32
		shape  []int
	}
	tensors := map[string]values32{
		peftName(at.module(), "A"): {down, []int{rank, at.in}},
		peftName(at.module(), "B"): {up, []int{at.out, rank}},
	}
	if a.Kind.Magnitude {
		lengths, err := a.joinedLengths(values, at, parts)
		if err != nil {
			return err
		}
		tensors[peftPrefix+at.module()+"."+magnitudeKey] = values32{lengths, []int{at.out}}
	}
	for name, t := range tensors {
		tensor, err := weights.FromFloat32s(name, t.shape, t.values, weights.F32)
		if err != nil {
			return err
		}
		out[name] = tensor
	}
	return nil
}

// joinedLengths are the lengths of all rows of one place.
func (a *Adapter) joinedLengths(values map[string]weights.Tensor, at place, parts []rows) ([]float32, error) {
	if len(parts) < len(at.parts) {
		return nil, fault.Input("--format peft", "train with all of a fused matrix's projections among the targets",
			"%s holds %d projections, of which the adapter has %d: a DoRA on it needs the lengths of all rows", at.module(), len(at.parts), len(parts))
	}
	all := make([]float32, at.out)
	for _, part := range parts {
		lengths, err := values[lengthName(at.layer, part.site)].Float32s()
		if err != nil {
			return nil, err
		}
		copy(all[part.from:part.from+part.size], lengths)
	}
	return all, nil
}
