package moelora

import (
	"math"
	"strings"

	"alphalora/internal/fault"
	"alphalora/model"
)

// Kind says from which pieces an adapter is put together. The zero value is moe-lora's
// pieces: a router at every projection, its k best experts, scale α/r.
type Kind struct {
	Name         string
	Single       bool    // one expert a layer, and no router
	Dense        bool    // every expert serves every token, by its softmax weight
	SharedRouter bool    // one router an MLP, whose experts are whole MLPs; attention has plain LoRA
	Magnitude    bool    // the length of each row of W + BA is a variable of its own
	RootScale    bool    // additions are scaled by α/√r in the place of α/r
	RateRatio    float64 // learning rate of B over that of A; 0 as 1
}

// Kinds lists the kinds of adapters. Each has a file that tells its formula and source.
func Kinds() []Kind {
	return []Kind{MoELoRA, LoRA, RsLoRA, DoRA, LoRAPlus, LoRAMoE, MixLoRA}
}

// KindNamed finds a kind.
func KindNamed(name string) (Kind, error) {
	var names []string
	for _, k := range Kinds() {
		if k.Name == name {
			return k, nil
		}
		names = append(names, k.Name)
	}
	return Kind{}, fault.Input("adapter kind "+name, "use one of "+strings.Join(names, ", "), "there is no such kind")
}

// TopK is how many experts of each layer serve a token: the paper's 2, or as many as
// there are; all of them where the kind is dense.
func (k Kind) TopK(experts []int) []int {
	if k.Dense {
		return append([]int{}, experts...)
	}
	return DefaultTopK(experts)
}

// Scale is the factor on what the experts add: α/r, or α/√r.
func (s Shape) Scale() float64 {
	if s.Kind.RootScale {
		return s.Alpha / math.Sqrt(float64(s.Rank))
	}
	return s.Alpha / float64(s.Rank)
}

// experts is how many a projection of a layer has.
func (s Shape) experts(layer int, site model.Site) int {
	if s.Kind.SharedRouter && site <= model.O {
		return min(s.Experts[layer], 1)
	}
	return s.Experts[layer]
}

// routers is how many routers with a choice the sites of a group, which share their
// input, hold together.
func (s Shape) routers(layer int, sites []model.Site) int {
	switch {
	case len(sites) == 0 || s.experts(layer, sites[0]) < 2:
		return 0
	case s.Kind.SharedRouter:
		if sites[0] == model.Down {
			return 0 // the router stands before the MLP
		}
		return 1
	}
	return len(sites)
}
