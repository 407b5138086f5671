package alphalora

import (
	"fmt"
	"math"

	"alphalora/internal/fault"
)

// MaxExperts bounds a total: far above any model, far below overflow.
const MaxExperts = 1_000_000

// Request is what an allocation starts from.
type Request struct {
	Strategy string // a name of [Strategies] or mola-PATTERN
	Layers   int
	Total    int       // experts of all layers together; 0 where the strategy has its own
	Values   []float64 // alphalora: one for each layer, finite and positive
	Beta     float64   // alphalora: the exponent, finite and at least 0
	PerLayer []int     // manual: one for each layer, at least 0
	Rounding string    // a name of [Roundings]; empty means the default
}

// Allocation says how many experts each layer has.
type Allocation struct {
	Strategy  string   `json:"strategy"`
	Metric    string   `json:"metric"`    // where the values came from, if from an analysis
	Estimator string   `json:"estimator"` // the same
	Beta      *float64 `json:"beta"`      // null where the strategy has none
	Rounding  string   `json:"rounding"`  // empty where nothing was rounded
	Total     int      `json:"total"`
	Experts   []int    `json:"experts"`
	TopK      []int    `json:"top_k"` // experts that a token uses
	// WithoutExperts lists the layers that have none and train no adapter (with the
	// released rounding; see also [Allocation.Trainable]).
	WithoutExperts []int `json:"layers_without_experts,omitempty"`
	// TrainableParameters counts the adapter's, where the shapes are known.
	TrainableParameters int64 `json:"trainable_parameters,omitempty"`
}

// Allocate distributes experts over the layers. Errors name what is wrong with the
// request: too few experts for the layers, values or beta out of range, an unknown
// name, a list of the wrong length.
func Allocate(r Request) (Allocation, error) {
	strategy, err := StrategyNamed(r.Strategy)
	if err != nil {
		return Allocation{}, err
	}
	if r.Layers < 1 {
		return Allocation{}, fault.Input("layers", "", "%d; a model has at least one layer", r.Layers)
	}
	if r.Total < 0 || r.Total > MaxExperts {
		return Allocation{}, fault.Input(fmt.Sprintf("experts %d", r.Total), "", "must be from 1 to %d", MaxExperts)
	}
	share, err := strategy.share(r)
	if err != nil {
		return Allocation{}, err
	}
	a := Allocation{Strategy: r.Strategy, Experts: share.counts}
	if share.counts == nil {
		if a.Experts, a.Rounding, err = apportion(share.weights, r); err != nil {
			return Allocation{}, err
		}
	}
	if strategy.UsesBeta {
		a.Beta = &r.Beta
	}
	for layer, experts := range a.Experts {
		a.Total += experts
		a.TopK = append(a.TopK, TopK(experts))
		if experts <= 0 {
			a.WithoutExperts = append(a.WithoutExperts, layer)
		}
	}
	return a, nil
}

func apportion(weights []float64, r Request) ([]int, string, error) {
	rounding, err := RoundingNamed(r.Rounding)
	if err != nil {
		return nil, "", err
	}
	if r.Total < r.Layers {
		return nil, "", fault.Input(fmt.Sprintf("experts %d", r.Total), fmt.Sprintf("give at least %d", r.Layers), "fewer than the %d layers", r.Layers)
	}
	return rounding.apportion(weights, r.Total), rounding.Name, nil
}

// Trainable is nil when an adapter of these counts can be made. The released rounding
// can leave a layer with less than none, which is an error here.
func (a Allocation) Trainable() error {
	for layer, experts := range a.Experts {
		if experts < 0 {
			return fault.Input("allocation", "use the rounding largest-remainder, or a total for which the released one works",
				"layer %d has %d experts, as the released code computes it", layer, experts)
		}
	}
	return nil
}

// TopK is the number of experts that a token is sent to in a layer of so many: 2, as
// in the paper, 1 where there is one, 0 where there is none.
func TopK(experts int) int { return max(0, min(experts, 2)) }

// Shape is the size of one projection of a layer.
type Shape struct{ In, Out int }

// TrainableParameters counts the parameters of a MoE-LoRA adapter: for each expert
// of a projection A [r, in] and B [out, r], and its row [in] of the router. A layer
// with one expert has that row too, as the released code keeps and counts it; a
// layer without experts has nothing. This rule gives the published counts. shapes holds each layer's adapted projections.
func TrainableParameters(experts []int, shapes [][]Shape, r int) (int64, error) {
	if len(experts) != len(shapes) {
		return 0, fault.Input("allocation", "", "%d layers, the model has %d", len(experts), len(shapes))
	}
	var total int64
	for layer, count := range experts {
		for _, s := range shapes[layer] {
			total += int64(max(0, count)) * (int64(r)*int64(s.In+s.Out) + int64(s.In))
		}
	}
	return total, nil
}

// checkValues refuses values by which nothing can be shared out.
func checkValues(values []float64) error {
	for layer, v := range values {
		if !(v > 0) || math.IsInf(v, 0) {
			return fault.Input(fmt.Sprintf("value of layer %d", layer), "choose another metric or correct the value", "%v; a layer's value must be finite and above 0", v)
		}
	}
	return nil
}
