package moelora

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/weights"

	"github.com/gomlx/gomlx/core/tensors"
)

// Files of an adapter directory.
const (
	WeightsFile = "adapter_model.safetensors"
	ConfigFile  = "adapter_config.json"
)

// formatVersion of the manifest that this program writes.
const formatVersion = 2

// PeftType marks a manifest that states its experts; the released code writes "LORA".
const PeftType = "MOELORA"

// Manifest is adapter_config.json. The released code's has neither expert counts nor
// top-k: then both are absent here and come from the tensors.
type Manifest struct {
	PeftType        string   `json:"peft_type"`
	FormatVersion   int      `json:"format_version,omitempty"`
	Kind            string   `json:"kind,omitempty"` // absent in version 1 and of the released code: moe-lora
	Rank            rank     `json:"r"`
	Alpha           float64  `json:"lora_alpha"`
	Dropout         float64  `json:"lora_dropout"`
	TargetModules   []string `json:"target_modules"`
	Base            string   `json:"base_model_name_or_path"`
	BaseFingerprint string   `json:"base_fingerprint,omitempty"`
	Experts         []int    `json:"number_experts,omitempty"`
	TopK            []int    `json:"top_k,omitempty"`
	TaskType        string   `json:"task_type"`
}

// rank reads r as a number, or as the released code's list of one equal number a layer.
type rank int

func (r *rank) UnmarshalJSON(data []byte) error {
	var one int
	if json.Unmarshal(data, &one) == nil {
		*r = rank(one)
		return nil
	}
	var list []int
	if err := json.Unmarshal(data, &list); err != nil || len(list) == 0 {
		return fmt.Errorf("r is %.40s: a number or a list of numbers is needed", data)
	}
	for _, v := range list {
		if v != list[0] {
			return fmt.Errorf("r differs between layers (%d and %d): one rank for all is supported", list[0], v)
		}
	}
	*r = rank(list[0])
	return nil
}

const prefix = "base_model.model.model.layers."

func expertName(layer int, site model.Site, matrix string, expert int) string {
	return fmt.Sprintf("%s%d.%s.lora_%s_%d.weight", prefix, layer, site.Module(), matrix, expert)
}

func routerName(layer int, site model.Site) string {
	return fmt.Sprintf("%s%d.%s.router.router.weight", prefix, layer, site.Module())
}

// routerOf names the router of a projection or, where it is shared, of its MLP.
func (s Shape) routerOf(layer int, site model.Site) string {
	if s.Kind.SharedRouter {
		return fmt.Sprintf("%s%d.mlp.router.router.weight", prefix, layer)
	}
	return routerName(layer, site)
}

func lengthName(layer int, site model.Site) string {
	return fmt.Sprintf("%s%d.%s.%s", prefix, layer, site.Module(), magnitudeKey)
}

// magnitudeKey is PEFT's name of a DoRA's lengths.
const magnitudeKey = "lora_magnitude_vector"

// part is one tensor of the file and where its values lie in its fused variable: in so
// many rows, or turned, each row a column of the file's tensor.
type part struct {
	name       string
	shape      []int
	from, rows int
	turned     bool
}

// parts lists the file's tensors that make up a fused variable.
func (s Shape) parts(v variable) []part {
	if v.role == magnitude {
		return []part{{name: lengthName(v.layer, v.sites[0]), shape: v.shape, rows: 1}}
	}
	var list []part
	experts := s.experts(v.layer, v.sites[0])
	for j, site := range v.sites {
		for e := range experts {
			if v.role == up {
				list = append(list, part{expertName(v.layer, site, "B", e), []int{v.shape[1], s.Rank}, e * s.Rank, s.Rank, true})
			} else {
				list = append(list, part{expertName(v.layer, site, "A", e), []int{s.Rank, v.shape[1]}, (j*experts + e) * s.Rank, s.Rank, false})
			}
		}
	}
	if v.role == down {
		for j := range s.routers(v.layer, v.sites) {
			from := experts * (len(v.sites)*s.Rank + j)
			list = append(list, part{s.routerOf(v.layer, v.sites[j]), []int{experts, v.shape[1]}, from, experts, false})
		}
	}
	return list
}

// copyPart moves a part's values out of (or, with into, into) its fused variable, whose
// rows are width long.
func copyPart(fused []float32, width int, p part, values []float32, into bool) {
	fused = fused[p.from*width : (p.from+p.rows)*width]
	for i := range fused {
		at := i
		if p.turned {
			at = i%width*p.rows + i/width
		}
		if into {
			fused[i] = values[at]
		} else {
			values[at] = fused[i]
		}
	}
}

// Values returns the adapter's tensors as files name them, in f32.
func (a *Adapter) Values() (map[string]weights.Tensor, error) {
	return a.Split(a.Params)
}

// Split cuts fused tensors that stand in the order of the adapter's own variables, such
// as their gradients, into per-expert ones as files name them.
func (a *Adapter) Split(fused *model.Params) (map[string]weights.Tensor, error) {
	out := map[string]weights.Tensor{}
	put := func(name string, shape []int, values []float32) error {
		t, err := weights.FromFloat32s(name, shape, values, weights.F32)
		out[name] = t
		return err
	}
	for i, v := range a.variables(a.Description) {
		values, err := model.Float32s(fused.Tensors[i])
		if err != nil {
			return nil, fmt.Errorf("%s: not read from the device: %w", v.name, err)
		}
		for _, p := range a.parts(v) {
			piece := make([]float32, p.rows*v.width())
			copyPart(values, v.width(), p, piece, false)
			if err := put(p.name, p.shape, piece); err != nil {
				return nil, err
			}
		}
	}
	for name, values := range a.Idle {
		if err := put(name, []int{1, len(values)}, values); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Save writes the adapter directory: tensors first, then the manifest, each atomically.
func (a *Adapter) Save(dir string, base *model.Model, dropout float64) error {
	values, err := a.Values()
	if err != nil {
		return err
	}
	fingerprint, err := base.Fingerprint()
	if err != nil {
		return err
	}
	m := Manifest{PeftType: PeftType, FormatVersion: formatVersion, Kind: a.Kind.Name, Rank: rank(a.Rank), Alpha: a.Alpha,
		Dropout: dropout, Base: base.Dir, BaseFingerprint: fingerprint,
		Experts: a.Experts, TopK: a.TopK, TaskType: "CAUSAL_LM"}
	for _, site := range a.Targets {
		m.TargetModules = append(m.TargetModules, site.String())
	}
	return writeFiles(dir, values, m)
}

// checkBase refuses another base model than the one that the adapter was trained on.
func (m Manifest) checkBase(dir string, base *model.Model) error {
	if m.BaseFingerprint == "" { // of the release
		return nil
	}
	is, err := base.Fingerprint()
	if err != nil || is == "" || is == m.BaseFingerprint {
		return err
	}
	return fault.Input(dir, "give the base model that the adapter was trained on",
		"was trained on a base with fingerprint %.16s (%s), but %s has %.16s", m.BaseFingerprint, m.Base, base.Dir, is)
}

// Load reads an adapter directory for a base model; topK, where above 0, replaces the
// manifest's. Every tensor must be accounted for, both ways.
func Load(dir string, base *model.Model, topK int) (*Adapter, error) {
	manifest, err := readManifest(filepath.Join(dir, ConfigFile))
	if err != nil {
		return nil, err
	}
	set, err := weights.OpenFile(filepath.Join(dir, WeightsFile))
	if err != nil {
		return nil, err
	}
	defer func() { _ = set.Close() }()
	if err := checkNotPeft(dir, set.Names()); err != nil {
		return nil, err
	}
	if err := manifest.checkBase(dir, base); err != nil {
		return nil, err
	}
	shape, err := manifest.shape(dir, base.Description, set.Names(), topK)
	if err != nil {
		return nil, err
	}
	a := &Adapter{Shape: shape, Description: base.Description, Params: &model.Params{}, Idle: map[string][]float32{}}
	if err := a.checkNeighbours(dir, set.Names()); err != nil {
		return nil, err
	}
	if err := set.Check(a.specs()); err != nil {
		return nil, err
	}
	return a, a.fill(set)
}

// readManifest reads the adapter_config.json at path.
func readManifest(path string) (Manifest, error) {
	data, err := readConfig(path)
	if err != nil {
		return Manifest{}, err
	}
	return parseManifest(path, data)
}

func parseManifest(path string, data []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fault.Input(path, "give an adapter written by this program or by the released code", "%v", err)
	}
	if m.PeftType != PeftType && m.PeftType != releasedType {
		return m, fault.Input(path, "give an adapter written by this program or by the released code",
			"peft_type is %.40q, not %s or %s", m.PeftType, PeftType, releasedType)
	}
	if m.FormatVersion > formatVersion {
		return m, fault.Input(path, "use a newer alphalora", "format_version %d is newer than %d", m.FormatVersion, formatVersion)
	}
	return m, nil
}

var routerPattern = regexp.MustCompile(`^` + regexp.QuoteMeta(prefix) + `(\d+)\.(?:self_attn|mlp)\.(\w+_proj)\.lora_A_(\d+)\.weight$`)

// shape completes the manifest: counts from the tensors where it has none.
func (m Manifest) shape(dir string, d model.Description, names []string, topK int) (Shape, error) {
	s := Shape{Kind: MoELoRA, Rank: int(m.Rank), Alpha: m.Alpha, Experts: m.Experts, TopK: m.TopK}
	if m.Kind != "" {
		kind, err := KindNamed(m.Kind)
		if err != nil {
			return s, fmt.Errorf("%s: %w", dir, err)
		}
		s.Kind = kind
	}
	for _, site := range model.Sites() { // in the order of the forward pass
		if slices.Contains(m.TargetModules, site.String()) {
			s.Targets = append(s.Targets, site)
		}
	}
	for _, name := range m.TargetModules {
		if _, err := model.ParseSite(name); err != nil {
			return s, fmt.Errorf("%s: %w", filepath.Join(dir, ConfigFile), err)
		}
	}
	if s.Experts == nil {
		s.Experts = make([]int, d.Layers)
		for _, name := range names {
			match := routerPattern.FindStringSubmatch(name)
			if match == nil {
				continue
			}
			layer, _ := strconv.Atoi(match[1])
			expert, _ := strconv.Atoi(match[3])
			if layer < d.Layers && expert < 1024 {
				s.Experts[layer] = max(s.Experts[layer], expert+1)
			}
		}
	}
	if s.TopK == nil {
		s.TopK = s.Kind.TopK(s.Experts)
	}
	if topK < 0 {
		return s, fault.Input(fmt.Sprintf("top-k %d", topK), "give 1 or more, or 0 for what the adapter states", "is negative")
	}
	if topK > 0 {
		s.TopK = make([]int, len(s.Experts))
		for i, e := range s.Experts {
			s.TopK[i] = min(e, topK)
		}
	}
	if err := s.Check(d); err != nil {
		return s, fmt.Errorf("%s: %w", dir, err)
	}
	return s, nil
}

// specs lists the tensors that the adapter's file must hold.
func (a *Adapter) specs() []weights.Spec {
	var list []weights.Spec
	for _, v := range a.variables(a.Description) {
		for _, p := range a.parts(v) {
			list = append(list, weights.Spec{Name: p.name, Shape: p.shape})
		}
	}
	list = append(list, a.idle(a.Description)...)
	return list
}

// fill reads every tensor of a checked set into the fused variables.
func (a *Adapter) fill(set *weights.Set) error {
	read := func(name string) ([]float32, error) {
		t, _ := set.Get(name)
		if err := t.CheckFinite(); err != nil {
			return nil, err
		}
		return t.Float32s()
	}
	for _, v := range a.variables(a.Description) {
		fused := make([]float32, v.size())
		for _, p := range a.parts(v) {
			values, err := read(p.name)
			if err != nil {
				return err
			}
			copyPart(fused, v.width(), p, values, true)
		}
		a.Params.Add(v.name, tensors.FromFlatDataAndDimensions(fused, v.shape...))
	}
	for _, idle := range a.idle(a.Description) {
		values, err := read(idle.Name)
		if err != nil {
			return err
		}
		a.Idle[idle.Name] = values
	}
	return nil
}
