package alphalora

import (
	"fmt"
	"math"

	"alphalora/internal/fault"
)

// shareAlphaLoRA weighs layer i by v_i^beta. Beta 0 is the uniform strategy.
func shareAlphaLoRA(r Request) (share, error) {
	if err := needTotal(r); err != nil {
		return share{}, err
	}
	if err := perLayer("values", len(r.Values), r.Layers); err != nil {
		return share{}, err
	}
	if err := checkValues(r.Values); err != nil {
		return share{}, err
	}
	what := fmt.Sprintf("beta %v", r.Beta)
	if !(r.Beta >= 0) || math.IsInf(r.Beta, 0) {
		return share{}, fault.Input(what, "the paper uses 2.5", "must be finite and at least 0")
	}
	weights := make([]float64, len(r.Values))
	for i, v := range r.Values {
		weights[i] = power(v, r.Beta)
	}
	if sum := pairwiseSum(weights); !(sum > 0) || math.IsInf(sum, 0) {
		return share{}, fault.Input(what, "the paper uses 2.5", "too large: the sum of value^beta is %v", sum)
	}
	return share{weights: weights}, nil
}
