package eval

import (
	"fmt"
	"slices"
	"sort"

	"alphalora/eval/benchmark"
	"alphalora/internal/fault"
)

// Policy says what becomes of a prompt with more tokens than the model's stated
// context. Whatever it is, such prompts are counted.
type Policy string

// The policies. Truncate drops the start of the instruction, so that the question's
// end, its options and the wrapper stay, until the prompt has at most as many
// tokens as the context.
const (
	Allow    Policy = "allow" // evaluate it all the same, as transformers does; also the empty value
	Truncate Policy = "truncate"
	Refuse   Policy = "error"
)

// ParsePolicy reads a policy's name; the empty name is [Allow].
func ParsePolicy(name string) (Policy, error) {
	switch p := Policy(name); p {
	case "":
		return Allow, nil
	case Allow, Truncate, Refuse:
		return p, nil
	}
	return "", fault.Input(fmt.Sprintf("over-context policy %q", name), "choose allow, truncate or error", "is not known")
}

// fit applies the policy, and counts the prompts that were longer than the context.
func fit(items []benchmark.Item, b benchmark.Benchmark, opt Options) (fitted []benchmark.Item, over int, err error) {
	if err := opt.check(items); err != nil {
		return nil, 0, err
	}
	if opt.Counter == nil || opt.Counter.Context() <= 0 {
		return items, 0, nil
	}
	fitted = slices.Clone(items)
	for i, it := range fitted {
		tokens := opt.Counter.CountTokens(it.Prompt)
		if tokens <= opt.Counter.Context() {
			continue
		}
		over++
		what := fmt.Sprintf("%s: record %d", b.Name, it.Index+1)
		switch opt.OverContext {
		case Refuse:
			return nil, 0, fault.Input(what, "choose the policy allow or truncate",
				"its prompt has %d tokens, the model's context %d", tokens, opt.Counter.Context())
		case Truncate:
			short, ok := truncate(it, opt.Counter)
			if !ok {
				return nil, 0, fault.Input(what, "choose the policy allow",
					"its prompt does not fit the model's context of %d tokens even without its instruction", opt.Counter.Context())
			}
			fitted[i] = short
		}
	}
	return fitted, over, nil
}

// truncate drops as little of the instruction's start as it can. Token counts
// hardly ever grow with a shorter text, so a binary search finds the place; the
// last loop makes sure of it.
func truncate(it benchmark.Item, c Counter) (benchmark.Item, bool) {
	text := it.Instruction
	var starts []int
	for at := range text {
		starts = append(starts, at)
	}
	starts = append(starts, len(text))
	fits := func(i int) bool { return c.CountTokens(it.WithInstruction(text[starts[i]:]).Prompt) <= c.Context() }
	for i := sort.Search(len(starts), fits); i < len(starts); i++ {
		if fits(i) {
			return it.WithInstruction(text[starts[i]:]), true
		}
	}
	return it, false
}
