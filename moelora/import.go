package moelora

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"

	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/weights"
)

// peftPrefix begins every name in a PEFT LoRA's file.
const peftPrefix = "base_model.model."

func peftName(module, matrix string) string {
	return peftPrefix + module + ".lora_" + matrix + ".weight"
}

// lora is one LoRA of one projection: it adds scale · b·a·x.
type lora struct {
	a, b    []float32 // [rank, in], [out, rank]
	lengths []float32 // [out] of the rows of W + scale·b·a, in a DoRA; otherwise nil
	rank    int
	scale   float64
}

// slot names a projection.
type slot struct {
	layer int
	site  model.Site
}

// peft is a PEFT LoRA adapter, its fused modules cut into projections.
type peft struct {
	dir   string
	loras map[slot]lora
	peftConfig
}

// openPeft reads a PEFT LoRA of a base model, all of it or nothing.
func openPeft(dir string, d model.Description) (*peft, error) {
	path := filepath.Join(dir, ConfigFile)
	data, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	p := &peft{dir: dir, loras: map[slot]lora{}}
	if p.peftConfig, err = parsePeft(path, data); err != nil {
		return nil, err
	}
	list := places(d)
	if err := p.checkTargets(dir, list); err != nil {
		return nil, err
	}
	set, err := weights.OpenFile(filepath.Join(dir, WeightsFile))
	if err != nil {
		return nil, err
	}
	defer func() { _ = set.Close() }()
	if err := checkStrangers(dir, set.Names(), p.dora); err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(at place) bool { return !p.adapts(at.module(), at.layer) })
	if len(list) == 0 {
		return nil, fault.Input(path, "give an adapter on the projections of this base model", "the adapter adapts no projection of it")
	}
	if err := set.Check(p.specs(list)); err != nil {
		return nil, err
	}
	for _, at := range list {
		if err := p.read(set, at); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// strangers tell of tensors that a LoRA's file may hold and no expert can, by what their
// names contain.
var strangers = []struct{ part, why, do string }{
	{".lora_embedding_", "is a LoRA of an embedding; only projections carry experts", "train without the embedding among the targets"},
	{".modules_to_save.", "is a module that was trained in full, which has no place in an expert", "train without modules_to_save"},
	{".base_layer.", "is the base model's", "save the adapter alone, with peft's save_pretrained"},
	{".bias", "is a trained bias, which has no place in an expert", `train with bias="none"`},
	{".lora_A_", "is an expert's: this adapter has routers already", "give it as --adapter"},
}

func checkStrangers(dir string, names []string, dora bool) error {
	for _, name := range names {
		for _, s := range strangers {
			if strings.Contains(name, s.part) {
				return fault.Input(filepath.Join(dir, WeightsFile), s.do, "tensor %.160s %s", name, s.why)
			}
		}
		if !strings.Contains(name, ".lora_A.") && !strings.Contains(name, ".lora_B.") && !(dora && strings.HasSuffix(name, "."+magnitudeKey)) {
			return fault.Input(filepath.Join(dir, WeightsFile), "save the adapter alone, with peft's save_pretrained",
				"tensor %.160s is not a LoRA's", name)
		}
	}
	return nil
}

// specs lists the tensors that the configuration promises for these places.
func (p *peft) specs(list []place) []weights.Spec {
	var specs []weights.Spec
	for _, at := range list {
		rank, _ := p.of(at.module())
		specs = append(specs, weights.Spec{Name: peftName(at.module(), "A"), Shape: []int{rank, at.in}},
			weights.Spec{Name: peftName(at.module(), "B"), Shape: []int{at.out, rank}})
		if p.dora {
			specs = append(specs, weights.Spec{Name: peftPrefix + at.module() + "." + magnitudeKey, Shape: []int{at.out}})
		}
	}
	return specs
}

// read takes the LoRA of one place; the projections of a fused one share A and take their
// rows of B.
func (p *peft) read(set *weights.Set, at place) error {
	values := map[string][]float32{}
	names := map[string]string{"A": peftName(at.module(), "A"), "B": peftName(at.module(), "B")}
	if p.dora {
		names["lengths"] = peftPrefix + at.module() + "." + magnitudeKey
	}
	for matrix, name := range names {
		t, _ := set.Get(name)
		if err := t.CheckFinite(); err != nil {
			return err
		}
		var err error
		if values[matrix], err = t.Float32s(); err != nil {
			return err
		}
	}
	rank, alpha := p.of(at.module())
	for _, part := range at.parts {
		b := values["B"][part.from*rank : (part.from+part.size)*rank]
		l := lora{a: values["A"], b: b, rank: rank, scale: p.scale(rank, alpha)}
		if p.dora {
			l.lengths = values["lengths"][part.from : part.from+part.size]
		}
		p.loras[slot{at.layer, part.site}] = l
	}
	return nil
}

// The routers that [Import] can begin with.
const (
	RandomRouter = "random" // uniform in ±1/√in, as a fresh adapter's: near-even gates that depend on the token
	ZeroRouter   = "zero"   // every expert the same gate; sound only where all of them run
)

// ImportOptions are the choices of [Import] that the adapters do not make.
type ImportOptions struct {
	TopK   int    // k of every layer; 0: 2, or all experts with a router of zeros
	Router string // RandomRouter or ZeroRouter
	Seed   uint64 // of the random routers
}

// Imported is an adapter made of PEFT LoRAs, one expert for each.
type Imported struct {
	Shape
	Zeros [][]string // for each LoRA the modules that others have and it has not: its expert there is zero

	dropout float64
	loras   []*peft
	values  map[string]weights.Tensor
}

// Import makes the LoRAs of the directories the experts of a new adapter: expert e of a
// layer is exactly the LoRA of dirs[e]. Ranks are padded with zeros to the largest, and
// what their scales differ by goes into B. A layer that no LoRA touches has no experts; a
// projection that only some touch has experts of zeros for the others.
func Import(d model.Description, dirs []string, o ImportOptions) (*Imported, error) {
	m := &Imported{values: map[string]weights.Tensor{}}
	for _, dir := range dirs {
		p, err := openPeft(dir, d)
		if err != nil {
			return nil, err
		}
		m.loras = append(m.loras, p)
		m.dropout = max(m.dropout, p.dropout)
	}
	if err := m.shape(d, o); err != nil {
		return nil, err
	}
	if err := m.checkDoRA(dirs); err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(o.Seed, 0x10ca))
	for layer, experts := range m.Experts {
		if experts == 0 {
			continue
		}
		for _, site := range m.Targets {
			in, out := d.SiteDims(site)
			if err := m.put(slot{layer, site}, in, out); err != nil {
				return nil, err
			}
			if m.Kind.Single {
				continue
			}
			router := make([]float32, experts*in)
			if o.Router == RandomRouter {
				uniform(rng, router, in)
			}
			if err := m.tensor(routerName(layer, site), router, experts, in); err != nil {
				return nil, err
			}
		}
	}
	m.findZeros()
	return m, nil
}

// shape finds experts, targets, rank and α of all LoRAs together.
func (m *Imported) shape(d model.Description, o ImportOptions) error {
	k, err := o.topK(len(m.loras))
	if err != nil {
		return err
	}
	m.Experts, m.TopK = make([]int, d.Layers), make([]int, d.Layers)
	touched := map[model.Site]bool{}
	for _, p := range m.loras {
		for at, l := range p.loras {
			m.Experts[at.layer], m.TopK[at.layer] = len(m.loras), k
			touched[at.site] = true
			m.Rank = max(m.Rank, l.rank)
		}
	}
	for _, site := range model.Sites() {
		if touched[site] {
			m.Targets = append(m.Targets, site)
		}
	}
	m.Kind, m.Alpha = MoELoRA, m.commonAlpha()
	if m.loras[0].dora {
		m.Kind = DoRA
	}
	return m.Check(d)
}

// checkDoRA refuses what a DoRA cannot be: one of several experts, or missing at a
// projection of a layer, where its lengths would have to be those of the base.
func (m *Imported) checkDoRA(dirs []string) error {
	for e, p := range m.loras {
		if p.dora && len(m.loras) > 1 {
			return fault.Input(filepath.Join(dirs[e], ConfigFile), "import it alone, or train without use_dora",
				"use_dora is true: the lengths of rows that a DoRA learns have no place beside other experts")
		}
	}
	for layer, experts := range m.Experts {
		for _, site := range m.Targets {
			if _, ok := m.loras[0].loras[slot{layer, site}]; m.Kind.Magnitude && experts > 0 && !ok {
				return fault.Input(filepath.Join(dirs[0], ConfigFile), "adapt the same projections in each layer that is adapted",
					"the DoRA adapts layer %d, but not its %s", layer, site)
			}
		}
	}
	return nil
}

// commonAlpha gives the new adapter the scale of its first LoRA; the first one's own α
// where the rank is its own, so that it stays the number that was written down.
func (m *Imported) commonAlpha() float64 {
	first := m.loras[0]
	if !first.rslora && first.rank == m.Rank {
		return first.alpha
	}
	return first.scale(first.rank, first.alpha) * float64(m.Rank)
}

func (o ImportOptions) topK(experts int) (int, error) {
	k := o.TopK
	if k == 0 {
		k = min(2, experts)
		if o.Router == ZeroRouter {
			k = experts
		}
	}
	what := fmt.Sprintf("--top-k %d", o.TopK)
	switch {
	case o.Router != RandomRouter && o.Router != ZeroRouter:
		return 0, fault.Input(fmt.Sprintf("--router %q", o.Router), "use random or zero", "is no initial router")
	case k < 1 || k > experts:
		return 0, fault.Input(what, "give 1 to the number of adapters", "is not possible with %d experts a layer", experts)
	case o.Router == ZeroRouter && k < experts:
		return 0, fault.Input(what, fmt.Sprintf("give --top-k %d or --router random", experts),
			"with a router of zeros all experts tie, and the first %d of %d would always be taken", k, experts)
	}
	return k, nil
}

// put adds the experts of one projection, padded and scaled.
func (m *Imported) put(at slot, in, out int) error {
	for e, p := range m.loras {
		a, b := make([]float32, m.Rank*in), make([]float32, out*m.Rank)
		if l, ok := p.loras[at]; ok {
			factor := float32(l.scale / m.Scale())
			copy(a, l.a)
			for o := range out {
				for i, v := range l.b[o*l.rank : (o+1)*l.rank] {
					b[o*m.Rank+i] = v * factor
				}
			}
		}
		if err := m.tensor(expertName(at.layer, at.site, "A", e), a, m.Rank, in); err != nil {
			return err
		}
		if err := m.tensor(expertName(at.layer, at.site, "B", e), b, out, m.Rank); err != nil {
			return err
		}
		if m.Kind.Magnitude {
			if err := m.tensor(lengthName(at.layer, at.site), p.loras[at].lengths, out); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Imported) tensor(name string, values []float32, shape ...int) error {
	t, err := weights.FromFloat32s(name, shape, values, weights.F32)
	if err != nil {
		return err
	}
	m.values[name] = t
	if t.CheckFinite() != nil {
		return fault.Input("tensor "+name, "scale the adapters before", "is not finite: what their scales differ by is too much for float32")
	}
	return nil
}

// findZeros notes which expert is zero where.
func (m *Imported) findZeros() {
	m.Zeros = make([][]string, len(m.loras))
	for layer, experts := range m.Experts {
		for _, site := range m.Targets {
			for e, p := range m.loras {
				if _, ok := p.loras[slot{layer, site}]; experts > 0 && !ok {
					m.Zeros[e] = append(m.Zeros[e], strings.TrimSuffix(site.WeightName(layer), ".weight"))
				}
			}
		}
	}
}

// Source tells of a LoRA that was imported: its rank, its scale α/r or α/√r, and how many
// projections it adapts.
func (m *Imported) Source(e int) (rank int, scale float64, projections int) {
	p := m.loras[e]
	return p.rank, p.scale(p.rank, p.alpha), len(p.loras)
}

// Parameters is the number of values of the new adapter.
func (m *Imported) Parameters() int {
	n := 0
	for _, t := range m.values {
		n += t.Count()
	}
	return n
}

// Save writes the new adapter's directory.
func (m *Imported) Save(dir string, base *model.Model) error {
	fingerprint, err := base.Fingerprint()
	if err != nil {
		return err
	}
	manifest := Manifest{PeftType: PeftType, FormatVersion: formatVersion, Kind: m.Kind.Name, Rank: rank(m.Rank), Alpha: m.Alpha,
		Dropout: m.dropout, Base: base.Dir, BaseFingerprint: fingerprint, Experts: m.Experts, TopK: m.TopK, TaskType: "CAUSAL_LM"}
	for _, site := range m.Targets {
		manifest.TargetModules = append(manifest.TargetModules, site.String())
	}
	return writeFiles(dir, m.values, manifest)
}
