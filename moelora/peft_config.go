package moelora

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"alphalora/internal/fault"
)

// peftConfig is what a PEFT LoRA's adapter_config.json says of its arithmetic.
type peftConfig struct {
	rank    int
	alpha   float64
	rslora  bool // the scale is α/√r, not α/r
	dora    bool // rows have lengths of their own
	dropout float64

	ranks, alphas     patterns // of modules that differ from rank and alpha
	targets, excluded modules
	layers            layerList // nil: all
}

// parsePeft reads a PEFT LoRA's configuration. Whatever would change the arithmetic and
// cannot be carried into an expert is an error that names field and value; all of them
// come together.
func parsePeft(path string, data []byte) (peftConfig, error) {
	var c peftConfig
	f := peftFields{at: path, read: map[string]bool{}}
	if err := json.Unmarshal(data, &f.raw); err != nil {
		return c, fault.Input(path, "give a directory that peft's save_pretrained wrote", "%v", err)
	}
	var kind string
	if f.decode("peft_type", &kind); kind != releasedType {
		return c, fault.Input(path, "only LoRA adapters can become experts", "peft_type is %s, not \"LORA\"", f.show("peft_type"))
	}
	if len(f.raw["r"]) > 0 && f.raw["r"][0] == '[' {
		return c, fault.Input(path, "give it as --adapter", "r is a list: this is an adapter of AlphaLoRA's released code")
	}
	c.rank, c.alpha = 8, 8 // as peft has it where the fields are missing
	f.decode("r", &c.rank)
	f.decode("lora_alpha", &c.alpha)
	f.decode("lora_dropout", &c.dropout)
	f.decode("use_rslora", &c.rslora)
	f.decode("use_dora", &c.dora)
	f.decode("rank_pattern", &c.ranks)
	f.decode("alpha_pattern", &c.alphas)
	f.decode("target_modules", &c.targets)
	f.decode("exclude_modules", &c.excluded)
	f.decode("layers_to_transform", &c.layers)
	f.ranges(c)
	f.refuse()
	return c, f.err()
}

// peftFields collects what is wrong with the fields of one configuration.
type peftFields struct {
	at       string
	raw      map[string]json.RawMessage
	read     map[string]bool
	problems []string
	remedies []string
}

// show is a field's value as it stands in the file, cut short.
func (f *peftFields) show(key string) string {
	raw, ok := f.raw[key]
	if !ok {
		return "missing"
	}
	return fmt.Sprintf("%.80s", raw)
}

func (f *peftFields) problem(key, remedy, why string, args ...any) {
	f.problems = append(f.problems, fmt.Sprintf("%s is %s: %s", key, f.show(key), fmt.Sprintf(why, args...)))
	if !slices.Contains(f.remedies, remedy) {
		f.remedies = append(f.remedies, remedy)
	}
}

func (f *peftFields) err() error {
	if len(f.problems) == 0 {
		return nil
	}
	return fault.Input(f.at, strings.Join(f.remedies, "; "), "%s", strings.Join(f.problems, "; "))
}

// decode reads a field where it is there and not null.
func (f *peftFields) decode(key string, into any) {
	f.read[key] = true
	raw, ok := f.raw[key]
	if !ok || string(raw) == "null" {
		return
	}
	if err := json.Unmarshal(raw, into); err != nil {
		f.problem(key, "write it as peft does", "%v", err)
	}
}

// ranges holds the numbers to their bounds.
func (f *peftFields) ranges(c peftConfig) {
	const remedy = "use the configuration that was saved with the tensors"
	if c.rank < 1 || c.rank > maxRank {
		f.problem("r", remedy, "a whole number from 1 to %d is needed", maxRank)
	}
	if !(c.alpha > 0) || math.IsInf(c.alpha, 0) {
		f.problem("lora_alpha", remedy, "a number above 0 is needed")
	}
	if !(c.dropout >= 0 && c.dropout < 1) {
		f.problem("lora_dropout", remedy, "a number from 0 to below 1 is needed")
	}
	for _, p := range c.ranks {
		if p.value != math.Trunc(p.value) || p.value < 1 || p.value > maxRank {
			f.problem("rank_pattern", remedy, "whole numbers from 1 to %d are needed", maxRank)
			break
		}
	}
	for _, p := range c.alphas {
		if !(p.value > 0) {
			f.problem("alpha_pattern", remedy, "numbers above 0 are needed")
			break
		}
	}
}

// maxRank bounds a LoRA's rank.
const maxRank = 1 << 16

// silent lists the fields on which the arithmetic of a saved LoRA does not depend.
var silent = []string{
	"peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "runtime_config",
	"megatron_core", "qalora_group_size", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "ensure_weight_tying",
}

// neutral lists, for fields that peft writes always, the values that ask for nothing; null,
// false and what is empty ask for nothing in every field.
var neutral = map[string][]string{
	"bias":              {`"none"`},
	"task_type":         {`"CAUSAL_LM"`},
	"init_lora_weights": {`true`, `"gaussian"`, `"eva"`, `"orthogonal"`},
	"layers_pattern":    {`"layers"`, `["layers"]`},
}

// refusals tell why a field's other values cannot be carried, and what to do.
var refusals = map[string][2]string{
	"bias":                    {"trained biases have no place in an expert", `train the adapter with bias="none"`},
	"modules_to_save":         {"modules that were trained in full have no place in an expert", "train without modules_to_save, or put those modules into the base model first"},
	"fan_in_fan_out":          {"weights that lie as [in, out] are not those of a decoder that is supported", "set it to false"},
	"lora_bias":               {"trained biases have no place in an expert", "train without lora_bias"},
	"task_type":               {"only causal language models are supported", `use an adapter with task_type "CAUSAL_LM"`},
	"layers_pattern":          {`the layers of a decoder stand in "layers"`, "remove it"},
	"init_lora_weights":       {"this start changed the base model's weights too", "save the adapter with path_initial_model_for_weight_conversion, which makes it a plain LoRA"},
	"layer_replication":       {"the base model would have other layers", "make a base model with those layers first"},
	"trainable_token_indices": {"trained embeddings have no place in an expert", "train without it, or put those embeddings into the base model first"},
	"target_parameters":       {"only the projections of a decoder carry experts", "train without target_parameters"},
	"alora_invocation_tokens": {"an adapter that starts in the middle of a text cannot be an expert", "train without it"},
}

// refuse reports every field that nothing has read and that asks for something.
func (f *peftFields) refuse() {
	for _, key := range slices.Sorted(maps.Keys(f.raw)) {
		raw := string(f.raw[key])
		if f.read[key] || slices.Contains(silent, key) || slices.Contains([]string{"null", "false", "{}", "[]", `""`}, raw) ||
			slices.Contains(neutral[key], raw) {
			continue
		}
		if r, ok := refusals[key]; ok {
			f.problem(key, r[1], "%s", r[0])
			continue
		}
		f.problem(key, "remove the field if the adapter's arithmetic does not depend on it", "not known here")
	}
}

// of is the rank and the α of a module.
func (c peftConfig) of(module string) (rank int, alpha float64) {
	return int(c.ranks.find(module, float64(c.rank))), c.alphas.find(module, c.alpha)
}

// scale is the factor on B·A.
func (c peftConfig) scale(rank int, alpha float64) float64 {
	if c.rslora {
		return alpha / math.Sqrt(float64(rank))
	}
	return alpha / float64(rank)
}

// adapts tells whether the configuration puts a LoRA on a module of a layer, by peft's rule.
func (c peftConfig) adapts(module string, layer int) bool {
	if c.excluded.match(module) || !c.targets.match(module) {
		return false
	}
	return c.layers == nil || c.targets.listed == nil || slices.Contains(c.targets.listed, module) || slices.Contains(c.layers, layer)
}

// checkTargets refuses a target that is no projection of the base.
func (c peftConfig) checkTargets(dir string, list []place) error {
	path := filepath.Join(dir, ConfigFile)
	if c.targets.listed == nil && c.targets.pattern == nil {
		return fault.Input(path, "list the modules that the adapter was trained on", "target_modules is missing")
	}
	for _, name := range c.targets.listed {
		one := modules{listed: []string{name}}
		if !slices.ContainsFunc(list, func(p place) bool { return one.match(p.module()) }) {
			return fault.Input(path, "give an adapter on the projections of this base model alone",
				"target_modules has %.80q, which is no projection of the base model (%s)", name, strings.Join(kinds(list), ", "))
		}
	}
	return nil
}

// kinds lists the last names of the modules, such as up_proj.
func kinds(list []place) []string {
	var names []string
	for _, p := range list {
		if name := p.kind(); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// modules is target_modules: a list of names or of their ends, or a pattern for the whole
// name; "all-linear" stands for all projections.
type modules struct {
	listed  []string
	pattern *regexp.Regexp
}

func (m *modules) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) != nil {
		m.listed = []string{}
		return json.Unmarshal(data, &m.listed)
	}
	if text == "all-linear" {
		text = ".*"
	}
	var err error
	m.pattern, err = regexp.Compile("^(?:" + text + ")$")
	return err
}

func (m modules) match(module string) bool {
	if m.pattern != nil {
		return m.pattern.MatchString(module)
	}
	return slices.ContainsFunc(m.listed, func(name string) bool { return module == name || strings.HasSuffix(module, "."+name) })
}

// layerList is layers_to_transform: one number or a list of them. An empty list means all.
type layerList []int

func (l *layerList) UnmarshalJSON(data []byte) error {
	var one int
	if json.Unmarshal(data, &one) == nil {
		*l = layerList{one}
		return nil
	}
	var list []int
	if err := json.Unmarshal(data, &list); err != nil || len(list) == 0 {
		return err
	}
	*l = list
	return nil
}

// patterns is rank_pattern or alpha_pattern: the first pattern that a module's name ends
// with gives its number.
type patterns []struct {
	name  *regexp.Regexp
	value float64
}

func (p *patterns) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("an object is needed")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var value float64
		if err := d.Decode(&value); err != nil {
			return err
		}
		name, err := regexp.Compile(`^(?:(?:.*\.)?(?:` + key.(string) + `))$`) // keys are strings
		if err != nil {
			return err
		}
		*p = append(*p, struct {
			name  *regexp.Regexp
			value float64
		}{name, value})
	}
	return nil
}

func (p patterns) find(module string, standard float64) float64 {
	for _, one := range p {
		if one.name.MatchString(module) {
			return one.value
		}
	}
	return standard
}
