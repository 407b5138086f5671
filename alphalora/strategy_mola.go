package alphalora

import (
	"fmt"
	"strconv"
	"strings"

	"alphalora/internal/fault"
)

// shareMoLA divides the layers into as many groups of neighbours as the pattern has
// numbers, after Gao et al., "Higher Layers Need More LoRA Experts" (2024). Where the
// numbers do not divide the layers, the groups' sizes differ by at most one: layer i of
// L is in group ⌊i·groups/L⌋. Without a total each layer has its group's number; with a
// total those numbers are weights.
// For 32 layers mola-2468 is 160 experts either way.
func shareMoLA(r Request) (share, error) {
	pattern, err := molaPattern(r.Strategy)
	if err != nil {
		return share{}, err
	}
	if len(pattern) > r.Layers {
		return share{}, fault.Input("strategy "+r.Strategy, "use a shorter pattern", "%d groups for %d layers", len(pattern), r.Layers)
	}
	counts, weights := make([]int, r.Layers), make([]float64, r.Layers)
	for layer := range counts {
		counts[layer] = pattern[layer*len(pattern)/r.Layers]
		weights[layer] = float64(counts[layer])
	}
	if r.Total == 0 {
		return share{counts: counts}, nil
	}
	return share{weights: weights}, nil
}

// molaPattern reads mola-2468 (a digit for each group) or mola-3-5-10 (numbers
// between dashes).
func molaPattern(strategy string) ([]int, error) {
	text := strings.TrimPrefix(strategy, "mola-")
	parts := strings.Split(text, "-")
	if len(parts) == 1 {
		parts = strings.Split(text, "")
	}
	pattern := make([]int, len(parts))
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 || n > MaxExperts/len(parts) {
			return nil, fault.Input(fmt.Sprintf("strategy %q", strategy), "as mola-2468 or mola-3-5-7-8", "%q is no number of experts (1 or more)", part)
		}
		pattern[i] = n
	}
	if len(pattern) == 0 {
		return nil, fault.Input(fmt.Sprintf("strategy %q", strategy), "as mola-2468 or mola-3-5-7-8", "it has no numbers")
	}
	return pattern, nil
}
