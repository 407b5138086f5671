// Package moelora is the adapter: a mixture of LoRA experts on every projection of a
// decoder, each projection with a router of its own.
//
// For an input x of a projection with E experts of rank r, router R [E, in], and
// experts A_e [r, in], B_e [out, r]:
//
//	p = softmax(R·x) in f32;  T = the k largest of p;  g_e = p_e / Σ_{T} p  for e in T, else 0
//	Δ(x) = (α/r) · Σ_e g_e · B_e·A_e·x
//
// (Gao et al., MoLA, 2024; Qing et al., AlphaLoRA, EMNLP 2024.) A layer with one expert
// is plain LoRA and computes no routing; a layer with none adds nothing.
//
// # The fused form
//
// There is no loop over experts. Projections that read the same input (q,k,v; gate,up)
// share one product with all their A matrices, the router rows appended below; the
// gates, expanded over r columns, scale that thin result; one product with all B of a
// projection ends it. Variables are stored fused as the products consume them, and are
// split into the released code's per-expert tensors only in files (format.go).
package moelora

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/weights"

	"github.com/gomlx/gomlx/core/tensors"
)

// Shape is what an adapter looks like, without its values.
type Shape struct {
	Kind    Kind
	Rank    int          // r of each expert
	Alpha   float64      // α; the additions are scaled by α/r
	Experts []int        // E of each layer; 0 for no adapter there
	TopK    []int        // k of each layer; at most E
	Targets []model.Site // the projections that carry experts
}

// DefaultTopK is the paper's: 2, or as many as there are.
func DefaultTopK(experts []int) []int {
	k := make([]int, len(experts))
	for i, e := range experts {
		k[i] = min(e, 2)
	}
	return k
}

// Check holds the shape against a model.
func (s Shape) Check(d model.Description) error {
	what := "adapter"
	switch {
	case s.Rank < 1 || s.Rank > d.Hidden:
		return fault.Input(what, "set r between 1 and the hidden size", "rank r is %d, the model's hidden size %d", s.Rank, d.Hidden)
	case !(s.Alpha > 0) || math.IsInf(s.Alpha, 0):
		return fault.Input(what, "set alpha above 0", "alpha is %v", s.Alpha)
	case len(s.Experts) != d.Layers:
		return fault.Input(what, "give one number a layer", "%d expert counts for %d layers", len(s.Experts), d.Layers)
	case len(s.TopK) != d.Layers:
		return fault.Input(what, "give one number a layer", "%d top-k values for %d layers", len(s.TopK), d.Layers)
	case len(s.Targets) == 0:
		return fault.Input(what, "name at least one projection", "no targets")
	case s.Kind.SharedRouter && len(s.targeted([]model.Site{model.Gate, model.Up})) == 0:
		return fault.Input(what, "name gate_proj or up_proj among them", "the targets of kind %s are without both", s.Kind.Name)
	}
	for i, e := range s.Experts {
		if s.Kind.Single && e > 1 {
			return fault.Input(what, "use a kind that mixes experts, such as moe-lora", "layer %d has %d experts, but kind %s has one a layer", i, e, s.Kind.Name)
		}
		if e < 0 || e > 1024 {
			return fault.Input(what, "use 0 to 1024 experts", "layer %d has %d experts", i, e)
		}
		if k := s.TopK[i]; k > e || (e > 0 && k < 1) {
			return fault.Input(what, "use 1 to the layer's number of experts", "layer %d has top-k %d with %d experts", i, k, e)
		} else if s.Kind.Dense && k != e {
			return fault.Input(what, "use the layer's number of experts", "layer %d has top-k %d with %d experts, but kind %s uses all", i, k, e, s.Kind.Name)
		}
	}
	return nil
}

// targeted keeps the sites that carry experts.
func (s Shape) targeted(sites []model.Site) []model.Site {
	var kept []model.Site
	for _, site := range sites {
		if slices.Contains(s.Targets, site) {
			kept = append(kept, site)
		}
	}
	return kept
}

// Adapter holds the values of one adapter. Params are the variables that it owns and
// that training moves; Idle are the routers of layers with one expert, which no
// computation reads and which are kept for the file format alone.
type Adapter struct {
	Shape
	model.Description
	Params *model.Params
	Idle   map[string][]float32 // by their names in files
}

// downName is the fused variable that the sites of a group share: [Σ E·r (+ Σ E), in],
// the A matrices by site and expert, then the router rows by site and expert.
func downName(layer int, sites []model.Site) string {
	name := fmt.Sprintf("layers.%d.in", layer)
	for _, s := range sites {
		name += "." + s.String()
	}
	return name
}

// upName is the fused B of a site, turned: [E·r, out], the rows by expert.
func upName(layer int, site model.Site) string {
	return fmt.Sprintf("layers.%d.out.%s", layer, site)
}

// magnitudeName is the lengths of a site's rows: [out].
func magnitudeName(layer int, site model.Site) string {
	return fmt.Sprintf("layers.%d.length.%s", layer, site)
}

// variable is one fused variable and how its values come from the per-expert tensors.
type variable struct {
	name  string
	shape []int
	layer int
	sites []model.Site // of a down variable: the group; otherwise one site
	role  role
}

// role is what a variable holds.
type role int

const (
	down      role = iota // A and routers
	up                    // B
	magnitude             // lengths of rows
)

// variables lists the owned variables in their order.
func (s Shape) variables(d model.Description) []variable {
	var list []variable
	for layer := range s.Experts {
		for _, group := range model.Groups() {
			sites := s.targeted(group)
			if len(sites) == 0 || s.experts(layer, sites[0]) == 0 {
				continue
			}
			experts := s.experts(layer, sites[0])
			in, _ := d.SiteDims(sites[0])
			rows := experts * (len(sites)*s.Rank + s.routers(layer, sites))
			list = append(list, variable{downName(layer, sites), []int{rows, in}, layer, sites, down})
			for _, site := range sites {
				_, out := d.SiteDims(site)
				list = append(list, variable{upName(layer, site), []int{experts * s.Rank, out}, layer, []model.Site{site}, up})
				if s.Kind.Magnitude {
					list = append(list, variable{magnitudeName(layer, site), []int{out}, layer, []model.Site{site}, magnitude})
				}
			}
		}
	}
	return list
}

// size is the number of values.
func (v variable) size() int {
	n := 1
	for _, d := range v.shape {
		n *= d
	}
	return n
}

// width is the length of a row.
func (v variable) width() int { return v.shape[len(v.shape)-1] }

// New makes a fresh adapter for a base: A and routers uniform in ±1/√in (torch's default
// for a linear layer, as the released code has it), B zero, so that it changes nothing yet.
func New(base *model.Model, s Shape, seed uint64) (*Adapter, error) {
	d := base.Description
	if err := s.Check(d); err != nil {
		return nil, err
	}
	var measured map[string][]float32
	if s.Kind.Magnitude {
		var err error
		if measured, err = lengths(base, s); err != nil {
			return nil, err
		}
	}
	rng := rand.New(rand.NewPCG(seed, 0x10ca))
	a := &Adapter{Shape: s, Description: d, Params: &model.Params{}, Idle: map[string][]float32{}}
	for _, v := range s.variables(d) {
		values := make([]float32, v.size())
		switch v.role {
		case down:
			uniform(rng, values, v.shape[1])
		case magnitude:
			copy(values, measured[v.name])
		}
		a.Params.Add(v.name, tensors.FromFlatDataAndDimensions(values, v.shape...))
	}
	for _, idle := range s.idle(d) {
		router := make([]float32, idle.Shape[1])
		uniform(rng, router, idle.Shape[1])
		a.Idle[idle.Name] = router
	}
	return a, nil
}

// idles tells whether a layer holds routers without a choice.
func (s Shape) idles(layer int) bool {
	return s.Experts[layer] == 1 && !s.Kind.Single && !s.Kind.SharedRouter
}

// idle lists the routers of layers with one expert, which the released format has.
func (s Shape) idle(d model.Description) []weights.Spec {
	var list []weights.Spec
	for layer := range s.Experts {
		if !s.idles(layer) {
			continue
		}
		for _, site := range s.targeted(model.Sites()) {
			in, _ := d.SiteDims(site)
			list = append(list, weights.Spec{Name: routerName(layer, site), Shape: []int{1, in}})
		}
	}
	return list
}

func uniform(rng *rand.Rand, values []float32, in int) {
	bound := 1 / math.Sqrt(float64(in))
	for i := range values {
		values[i] = float32((2*rng.Float64() - 1) * bound)
	}
}

// Rates lists what the learning rate of each owned variable is multiplied by: ratio for
// B, or the kind's own where ratio is 0.
func (a *Adapter) Rates(ratio float64) []float64 {
	if ratio == 0 {
		ratio = max(a.Kind.RateRatio, 1)
	}
	var rates []float64
	for _, v := range a.variables(a.Description) {
		if v.role == up {
			rates = append(rates, ratio)
		} else {
			rates = append(rates, 1)
		}
	}
	return rates
}

// ZeroB sets every B to zero: the adapter keeps its A and routers and changes nothing.
func (a *Adapter) ZeroB() {
	for i, v := range a.variables(a.Description) {
		if v.role == up {
			_ = a.Params.Tensors[i].FinalizeAll()
			a.Params.Tensors[i] = tensors.FromFlatDataAndDimensions(make([]float32, v.size()), v.shape...)
		}
	}
}
