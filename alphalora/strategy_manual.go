package alphalora

import (
	"fmt"
	"slices"

	"alphalora/internal/fault"
)

// shareManual takes the counts of the request. A layer may have none: then it trains
// no adapter.
func shareManual(r Request) (share, error) {
	if err := perLayer("experts per layer", len(r.PerLayer), r.Layers); err != nil {
		return share{}, err
	}
	sum := 0
	for layer, n := range r.PerLayer {
		if n < 0 || n > MaxExperts-sum {
			return share{}, fault.Input(fmt.Sprintf("experts of layer %d", layer), "", "%d; counts must be 0 or more and at most %d together", n, MaxExperts)
		}
		sum += n
	}
	if sum == 0 {
		return share{}, fault.Input("experts per layer", "", "no layer has an expert, so there is nothing to train")
	}
	if r.Total != 0 && r.Total != sum {
		return share{}, fault.Input(fmt.Sprintf("experts %d", r.Total), "leave the total out", "the list adds up to %d", sum)
	}
	return share{counts: slices.Clone(r.PerLayer)}, nil
}
