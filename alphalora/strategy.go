package alphalora

import (
	"strings"

	"alphalora/internal/fault"
)

// Strategy says what each layer's part is. To add one: a file with its function, a
// line in [Strategies].
type Strategy struct {
	Name string // whole, or with the word PATTERN where a pattern stands
	Doc  string // what it is, one line
	// UsesValues and UsesBeta say which parts of a [Request] it reads.
	UsesValues, UsesBeta bool

	share func(r Request) (share, error)
}

// share is one of: weights that a [Rounding] turns into counts that add up to the
// total (finite, at least 0, not all 0), or the counts themselves.
type share struct {
	weights []float64
	counts  []int
}

// Strategies is the table of all strategies; the first is the default.
func Strategies() []Strategy {
	return []Strategy{
		{Name: "alphalora", Doc: "the paper's: by value^beta", UsesValues: true, UsesBeta: true, share: shareAlphaLoRA},
		{Name: "uniform", Doc: "the same for every layer", share: shareUniform},
		{Name: molaName, Doc: "MoLA's groups of layers: mola-2468, mola-8642, mola-5555, mola-3-5-7-8", share: shareMoLA},
		{Name: "manual", Doc: "a count for each layer", share: shareManual},
	}
}

// molaName stands for every mola-PATTERN.
const molaName = "mola-PATTERN"

// StrategyNamed returns the strategy of that name. A pattern that cannot be read is an error.
func StrategyNamed(name string) (Strategy, error) {
	if strings.HasPrefix(name, "mola-") {
		if _, err := molaPattern(name); err != nil {
			return Strategy{}, err
		}
		name = molaName
	}
	return named("strategy", name, Strategies(), func(s Strategy) string { return s.Name })
}

// perLayer refuses a list that has not one entry for each layer.
func perLayer(what string, entries, layers int) error {
	if entries != layers {
		return fault.Input(what, "give one for each layer", "%d entries for %d layers", entries, layers)
	}
	return nil
}

// needTotal refuses a request without a total.
func needTotal(r Request) error {
	if r.Total == 0 {
		return fault.Input("experts", "give the total", "strategy %s needs a total number of experts, at least %d", r.Strategy, r.Layers)
	}
	return nil
}
