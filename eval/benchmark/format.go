package benchmark

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"alphalora/internal/fault"
)

// Answer is an answer in its plain form: a letter, a label, or a number in
// decimal notation.
type Answer string

// Rule says which answer counts where a text holds several.
type Rule string

// The rules. Strict accepts a text with exactly one answer; Default is the rule
// of the format's published evaluator, [Format.Rule].
const (
	Default Rule = ""
	Strict  Rule = "strict"
	First   Rule = "first"
	Last    Rule = "last"
)

// ParseRule reads a rule's name; the empty name is [Default].
func ParseRule(name string) (Rule, error) {
	rule := Rule(name)
	if !slices.Contains([]Rule{Default, Strict, First, Last}, rule) {
		return Default, fault.Input(fmt.Sprintf("answer rule %q", name), "choose strict, first or last", "is not known")
	}
	return rule, nil
}

// Format is one way to write an answer. There are three: [Choice], [Label], [Number].
type Format interface {
	// Name is "choice", "label" or "number".
	Name() string
	// Rule is the rule of the published evaluators.
	Rule() Rule
	// Write is the answer's text in training data.
	Write(Answer) string
	// Read finds the answer in a text by a rule other than [Default]; ok is false
	// where there is none, or one that is not among the choices.
	Read(text string, rule Rule, choices []string) (a Answer, ok bool)
	// Equal reports whether an answer that was read is the gold one.
	Equal(a, gold Answer) bool

	// options are the possible answers of a record.
	options(labels []string, f fields, text string) ([]string, error)
	// gold is the right answer by the record's own answer field (empty: it has
	// none) and its output.
	gold(answer, output string, choices []string) (Answer, error)
}

// The three formats.
var (
	// Choice is a lettered option: "Answer: The answer is B.".
	Choice Format = choice{}
	// Label is one of a benchmark's fixed labels: "Answer: not equivalent.".
	Label Format = label{}
	// Number is a quantity, "The answer is: 18", right within [Tolerance].
	Number Format = number{}
)

// pick chooses among the answers found, in the order of the text.
func pick[T any](found []T, rule Rule) (one T, ok bool) {
	switch {
	case len(found) == 0, rule == Strict && len(found) > 1:
		return one, false
	case rule == Last:
		return found[len(found)-1], true
	default:
		return found[0], true
	}
}

// pickText picks among the first groups of a pattern's matches, and refuses what
// is not offered: a wrong form is not an answer.
func pickText(pattern *regexp.Regexp, text string, rule Rule, choices []string) (Answer, bool) {
	match, ok := pick(pattern.FindAllStringSubmatch(text, -1), rule)
	if !ok {
		return "", false
	}
	answer := strings.TrimSpace(match[1])
	return Answer(answer), slices.Contains(choices, answer)
}

type choice struct{}

// The letter must stand alone, or "The answer is A dog" would be an A.
var choicePattern = regexp.MustCompile(`The answer is ([A-Z])\s*(?:[.,:;!?()\n]|$)`)

func (choice) Name() string           { return "choice" }
func (choice) Rule() Rule             { return Strict }
func (choice) Write(a Answer) string  { return "Answer: The answer is " + string(a) + "." }
func (choice) Equal(a, g Answer) bool { return a == g }

func (choice) Read(text string, rule Rule, choices []string) (Answer, bool) {
	return pickText(choicePattern, text, rule, choices)
}

func (choice) options(_ []string, f fields, text string) ([]string, error) {
	if !f.has("choices") {
		return lettersIn(text)
	}
	texts, err := f.choices()
	if err != nil {
		return nil, err
	}
	return letters(len(texts)), nil
}

func (c choice) gold(answer, output string, choices []string) (Answer, error) {
	return namedGold(c, answer, output, choices)
}

type label struct{}

var labelPattern = regexp.MustCompile(`Answer: ([^.,:;!?()\n]+)`)

func (label) Name() string           { return "label" }
func (label) Rule() Rule             { return First }
func (label) Write(a Answer) string  { return "Answer: " + string(a) + "." }
func (label) Equal(a, g Answer) bool { return a == g }

func (label) Read(text string, rule Rule, choices []string) (Answer, bool) {
	return pickText(labelPattern, text, rule, choices)
}

func (label) options(labels []string, _ fields, _ string) ([]string, error) {
	if len(labels) < 2 {
		return nil, fmt.Errorf("the benchmark has %d labels; it needs two or more", len(labels))
	}
	return labels, nil
}

func (l label) gold(answer, output string, choices []string) (Answer, error) {
	return namedGold(l, answer, output, choices)
}

// namedGold is the answer in the output, with which the answer field must agree.
func namedGold(f Format, answer, output string, choices []string) (Answer, error) {
	gold, ok := f.Read(output, Strict, choices)
	switch {
	case !ok:
		return "", fmt.Errorf("its output %q holds no answer like %q, one of %s",
			clip(output), f.Write(Answer(choices[0])), strings.Join(choices, ", "))
	case answer != "" && Answer(answer) != gold:
		return "", fmt.Errorf("its answer %q contradicts its output %q", clip(answer), clip(output))
	}
	return gold, nil
}

// clip shortens a quoted value in an error.
func clip(s string) string {
	const most = 60
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	return string(runes[:most]) + "…"
}
