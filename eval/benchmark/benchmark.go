// Package benchmark reads the questions of the ten benchmarks on which AlphaLoRA
// (Qing et al., 2024) and MoLA (Gao et al., 2024) report accuracy, and reads and
// grades answers to them.
//
// A benchmark is four things: how a record of its files decodes, the prompt, the
// gold answer, and the [Format] in which answers are written. Six of the ten are
// fine-tuned directly, in the text format of those two papers (instruction, input,
// output); four are arithmetic word problems. Every prompt is the record's
// instruction in the Alpaca wrapper of [alphalora/internal/alpaca], the one that
// training uses.
//
//	format   answer in training                published reading
//	choice   Answer: The answer is B.          exactly one match (MoLA)
//	label    Answer: not entailment.           first match (LayerIF)
//	number   ... The answer is: 18             after the last marker, else the last number (LLM-Adapters)
//
// An answer that cannot be read is reported as such, for the caller to count; it
// is never replaced by a guess. To add a benchmark: one file with its constructor,
// one line in [All], hard answers and small records in the tests.
package benchmark

import (
	"fmt"
	"path/filepath"
	"strings"

	"alphalora/internal/alpaca"
	"alphalora/internal/fault"
)

// Item is one question.
type Item struct {
	Index       int      // place in its file, from 0
	ID          string   // the record's own identifier, if it has one
	Instruction string   // what the prompt wraps
	Input       string   // the wrapper's optional second part
	Prompt      string   // the whole prompt, which the answer follows directly
	Output      string   // the text that training would have the model write
	Gold        Answer   // the right answer
	Choices     []string // the possible answers (letters or labels); nil for numbers
	Candidates  []string // Choices as full answer texts, for likelihood scoring
}

// WithInstruction is the item asked with another instruction, its prompt wrapped anew.
func (it Item) WithInstruction(instruction string) Item {
	it.Instruction = instruction
	it.Prompt = alpaca.Prompt(instruction, it.Input)
	return it
}

// Benchmark is a named set of questions with one answer format.
type Benchmark struct {
	Name   string
	Format Format
	Labels []string // the labels, where the format is [Label]

	files  map[string][]string // split → names of its file, the preferred first
	decode decoder
}

// All lists the ten benchmarks, in the order in which results are shown.
func All() []Benchmark {
	return []Benchmark{
		mrpc(),
		cola(),
		rte(),
		scienceqa(),
		commonsenseqa(),
		openbookqa(),
		gsm8k(),
		svamp(),
		addsub(),
		multiarith(),
	}
}

// Find returns the benchmark of that name; an unknown name is bad input.
func Find(name string) (Benchmark, error) {
	var names []string
	for _, b := range All() {
		if b.Name == name {
			return b, nil
		}
		names = append(names, b.Name)
	}
	return Benchmark{}, fault.Input(fmt.Sprintf("benchmark %q", name), "choose one of "+strings.Join(names, ", "), "is not known")
}

// New returns a benchmark over {instruction, input, output} records, in files
// named train, validation and test (.json or .jsonl). labels is for the [Label]
// format only; the letters of a [Choice] item come from its text, "(A) .. (B) ..".
func New(name string, format Format, labels []string) Benchmark {
	return Benchmark{Name: name, Format: format, Labels: labels, files: instructionFiles(), decode: instruction}
}

func instructionFiles() map[string][]string {
	return map[string][]string{
		"train":      {"train.json", "train.jsonl"},
		"validation": {"validation.json", "validation.jsonl"},
		"test":       {"test.json", "test.jsonl"},
	}
}

// Grade reads the answer in text, which a model wrote after the item's prompt.
// parsed is false where the rule finds no answer, or one that the item does not
// offer; such an answer is not correct.
func (b Benchmark) Grade(it Item, text string, rule Rule) (answer Answer, correct, parsed bool) {
	if rule == Default {
		rule = b.Format.Rule()
	}
	answer, parsed = b.Format.Read(response(text), rule, it.Choices)
	return answer, parsed && b.Format.Equal(answer, it.Gold), parsed
}

// response cuts off what a model goes on to write under a response header of its
// own, as the published evaluators do.
func response(text string) string {
	head, _, _ := strings.Cut(text, alpaca.ResponseHeader)
	return head
}

// item finishes a decoded problem.
func (b Benchmark) item(index int, p problem) Item {
	it := Item{Index: index, ID: p.id, Input: p.input, Output: p.output, Gold: p.gold, Choices: p.choices}
	if it.Output == "" {
		it.Output = b.Format.Write(p.gold)
	}
	for _, c := range p.choices {
		it.Candidates = append(it.Candidates, b.Format.Write(Answer(c)))
	}
	return it.WithInstruction(p.instruction)
}

// folder is the benchmark's own folder: dir/NAME where that exists, else dir.
func (b Benchmark) folder(dir string) (string, error) {
	if own := filepath.Join(dir, b.Name); isDir(own) {
		return own, nil
	}
	if !isDir(dir) {
		return "", fault.Input(dir, "name a benchmark's folder, or the folder that holds one folder a benchmark", "is not a folder")
	}
	base := filepath.Base(filepath.Clean(dir))
	for _, other := range All() {
		if other.Name == base && other.Name != b.Name {
			return "", fault.Input(dir, "name the folder of "+b.Name, "is the folder of %s, not of %s", base, b.Name)
		}
	}
	return dir, nil
}
