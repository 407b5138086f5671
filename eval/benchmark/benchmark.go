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
// Each reads its official files (GLUE's tables, JSONL, problems.json, the Parquet files
// of the Hugging Face hub) and the ready-made records of those papers, to the same
// prompts, byte for byte; [Benchmark.Prepare] turns the one into the other.
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
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
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
	Options     []string // the text of each lettered choice, where the record has them apart
	Candidates  []string // Choices as full answer texts, for likelihood scoring

	template Template
}

// WithInstruction is the item asked with another instruction, its prompt wrapped anew.
func (it Item) WithInstruction(instruction string) Item {
	it.Instruction = instruction
	it.Prompt = it.template.wrap(instruction, it.Input)
	return it
}

// WithTemplate is the item asked in another wrapper.
func (it Item) WithTemplate(t Template) Item {
	it.template = t
	return it.WithInstruction(it.Instruction)
}

// Benchmark is a named set of questions with one answer format.
type Benchmark struct {
	Name   string
	Format Format
	Labels []string // the labels, where the format is [Label]

	files   map[string][]string // split → patterns of its files, the preferred first
	columns []string            // of tables that do not name theirs in a first line
	hub     string              // the dataset on the Hugging Face hub with its official files; empty: there is none
	decode  decoder
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
	for _, b := range All() {
		if b.Name == name {
			return b, nil
		}
	}
	return Benchmark{}, fault.Input(fmt.Sprintf("benchmark %q", name), "choose one of "+strings.Join(names(), ", "), "is not known")
}

// New returns a benchmark over {instruction, input, output} records, in files
// named train, validation and test (.json or .jsonl). labels is for the [Label]
// format only; the letters of a [Choice] item come from its text, "(A) .. (B) ..".
func New(name string, format Format, labels []string) Benchmark {
	return Benchmark{Name: name, Format: format, Labels: labels, files: files(nil, nil, nil), decode: instruction}
}

// files are the patterns of the three splits: the ready-made files, then the official ones.
func files(train, validation, test []string) map[string][]string {
	return map[string][]string{
		"train":      append([]string{"train.json", "train.jsonl"}, train...),
		"validation": append([]string{"validation.json", "validation.jsonl"}, validation...),
		"test":       append([]string{"test.json", "test.jsonl"}, test...),
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
	it := Item{Index: index, ID: p.id, Input: p.input, Output: p.output, Gold: p.gold, Choices: p.choices, Options: p.options, template: Alpaca}
	if it.Output == "" {
		it.Output = b.Format.Write(p.gold)
	}
	for _, c := range p.choices {
		it.Candidates = append(it.Candidates, b.Format.Write(Answer(c)))
	}
	return it.WithInstruction(p.instruction)
}

// PromptHash is the SHA-256 of all prompts in order, a zero byte after each: equal
// hashes are equal questions.
func PromptHash(items []Item) string {
	h := sha256.New()
	for _, it := range items {
		_, _ = io.WriteString(h, it.Prompt)
		_, _ = h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))
}
