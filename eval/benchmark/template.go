package benchmark

import (
	"fmt"

	"alphalora/internal/alpaca"
	"alphalora/internal/fault"
)

// Template is the wrapper that makes an instruction a prompt.
type Template string

// The templates. MetaMath is the wrapper with which MetaMath-tuned models are trained
// and evaluated (Yu et al., 2023): Alpaca's, with "Let's think step by step." after
// the response header. It is for number questions; its answers end as those of
// [Number] do, in "The answer is: 18".
const (
	Alpaca   Template = "alpaca"
	MetaMath Template = "metamath"
)

// ParseTemplate reads a template's name; the empty name is [Alpaca].
func ParseTemplate(name string) (Template, error) {
	switch t := Template(name); t {
	case "":
		return Alpaca, nil
	case Alpaca, MetaMath:
		return t, nil
	}
	return "", fault.Input(fmt.Sprintf("prompt %q", name), "choose alpaca or metamath", "is not known")
}

func (t Template) wrap(instruction, input string) string {
	if t == MetaMath {
		return alpaca.StepByStep(instruction, input)
	}
	return alpaca.Prompt(instruction, input)
}

// Ask wraps all items in a template. [MetaMath] for a benchmark of another format than
// [Number] is bad input.
func (b Benchmark) Ask(items []Item, t Template) ([]Item, error) {
	if t == MetaMath && b.Format != Number {
		return nil, fault.Input("prompt metamath", "use the prompt alpaca", "is for number questions, and %s asks for a %s", b.Name, b.Format.Name())
	}
	asked := make([]Item, len(items))
	for i, it := range items {
		asked[i] = it.WithTemplate(t)
	}
	return asked, nil
}
