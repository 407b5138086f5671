// Package eval asks a model the questions of a benchmark and says how many it got
// right, with what certainty.
//
// A score is an accuracy k/n with its 95 % Wilson interval, the share that always
// giving the commonest answer would get, the count of answers that could not be
// read, and a hash of the prompts, so that two scores can be known to be of the
// same questions. There are two ways to answer: [Run] lets the model write and
// reads the answer in its text; [RunLikelihood] takes the possible answer that the
// model finds likeliest, for base models that do not follow the format.
//
// The model comes in as a small interface. Prompts of like length share a batch,
// the longest first, so that memory runs out at the start or not at all; results
// stand in the items' order. A [Journal] keeps answers as they come, so that a run
// that was interrupted goes on, and [Compare] tells whether two scores of the same
// questions differ by more than chance.
package eval

import (
	"context"
	"fmt"
	"slices"
	"time"

	"alphalora/eval/benchmark"
	"alphalora/internal/fault"
)

// Generator continues prompts.
type Generator interface {
	// Generate returns one output a prompt, in order. It returns early with the
	// context's error when that is cancelled.
	Generate(ctx context.Context, prompts []string, o GenerateOptions) ([]Output, error)
}

// GenerateOptions bound what is written; decoding is greedy.
type GenerateOptions struct {
	MaxNewTokens int      // most tokens of one output
	Stop         []string // texts that end an output
}

// Output is what was written after one prompt.
type Output struct {
	Text         string // without the prompt
	Tokens       int    // tokens written
	Finish       string // "stop" or "length"
	PromptTokens int
}

// Counter measures prompts against the model's stated context.
type Counter interface {
	CountTokens(text string) int
	Context() int // in tokens; 0: none is stated
}

// Options of a run.
type Options struct {
	Split        string         // for the result only
	Batch        int            // prompts at a time, 1 or more
	MaxNewTokens int            // of one answer, 1 or more; [Run] only
	Stop         []string       // texts that end an answer; [Run] only
	Rule         benchmark.Rule // which answer of several counts; [Run] only
	OverContext  Policy         // what to do with prompts longer than the context
	Counter      Counter        // nil: prompts are not measured, and are sorted by bytes
	Prompt       benchmark.Template
	Progress     func(done, total int)

	// Done are answers of an earlier run to the same prompts, by the items' indices: these
	// are not asked again. Record, where not nil, is given the answers of each batch as they
	// come; in [RunLikelihood] those of the mode that PerToken says.
	Done     map[int]Sample
	Record   func([]Sample) error
	PerToken bool
}

func (o Options) check(items []benchmark.Item) error {
	if o.Batch < 1 {
		return fault.Input(fmt.Sprintf("batch %d", o.Batch), "set it to 1 or more", "is too small")
	}
	if len(items) == 0 {
		return fault.Input("evaluation", "raise the limit or name a split with records", "has no items")
	}
	if _, err := benchmark.ParseRule(string(o.Rule)); err != nil {
		return err
	}
	if _, err := benchmark.ParseTemplate(string(o.Prompt)); err != nil {
		return err
	}
	_, err := ParsePolicy(string(o.OverContext))
	return err
}

// Run has gen answer the items of b, and grades what it writes.
func Run(ctx context.Context, gen Generator, items []benchmark.Item, b benchmark.Benchmark, opt Options) (Result, error) {
	if opt.MaxNewTokens < 1 {
		return Result{}, fault.Input(fmt.Sprintf("max-new-tokens %d", opt.MaxNewTokens), "set it to 1 or more", "is too small")
	}
	items, over, err := fit(items, b, opt)
	if err != nil {
		return Result{}, err
	}
	samples, todo, err := resumed(items, opt.Done)
	if err != nil {
		return Result{}, err
	}
	begun, options := time.Now(), GenerateOptions{MaxNewTokens: opt.MaxNewTokens, Stop: opt.Stop}
	err = inBatches(ctx, items, todo, opt, func(batch []int) error {
		outputs, err := gen.Generate(ctx, promptsOf(items, batch), options)
		if err != nil {
			return err
		}
		if len(outputs) != len(batch) {
			return fmt.Errorf("%s: the generator gave %d outputs for %d prompts", b.Name, len(outputs), len(batch))
		}
		fresh := make([]Sample, len(batch))
		for i, at := range batch {
			fresh[i] = answered(b, items[at], outputs[i], opt.Rule)
			samples[at] = fresh[i]
		}
		return opt.record(fresh)
	})
	if err != nil {
		return Result{}, err
	}
	rule := opt.Rule
	if rule == benchmark.Default {
		rule = b.Format.Rule()
	}
	r := newResult(b, items, samples, opt, over)
	r.Mode, r.AnswerRule, r.MaxNewTokens = ModeGeneration, string(rule), opt.MaxNewTokens
	r.timed(begun, len(todo))
	return r, nil
}

func (o Options) record(fresh []Sample) error {
	if o.Record == nil {
		return nil
	}
	return o.Record(fresh)
}

// resumed places the answers of an earlier run, and lists the items that are left.
func resumed(items []benchmark.Item, done map[int]Sample) (samples []Sample, todo []int, err error) {
	samples = make([]Sample, len(items))
	for at, it := range items {
		s, ok := done[it.Index]
		switch {
		case !ok:
			todo = append(todo, at)
		case s.Prompt != it.Prompt || s.Gold != string(it.Gold):
			return nil, nil, fault.Input(fmt.Sprintf("%s: record %d", s.Benchmark, it.Index+1), "remove the samples to begin anew",
				"has another prompt or answer than when it was evaluated")
		default:
			samples[at] = s
		}
	}
	return samples, todo, nil
}

func answered(b benchmark.Benchmark, it benchmark.Item, out Output, rule benchmark.Rule) Sample {
	s := newSample(b, it)
	answer, correct, parsed := b.Grade(it, out.Text, rule)
	s.Output, s.Tokens, s.Finish, s.PromptTokens = out.Text, out.Tokens, out.Finish, out.PromptTokens
	if parsed {
		s.Prediction = string(answer)
	}
	s.Correct, s.Unparsed = correct, !parsed
	return s
}

func promptsOf(items []benchmark.Item, batch []int) []string {
	prompts := make([]string, len(batch))
	for i, at := range batch {
		prompts[i] = items[at].Prompt
	}
	return prompts
}

// longestFirst orders items as batches are padded, by tokens: a graph that is compiled for
// the first batch holds all that follow. Without a counter it goes by bytes.
func longestFirst(items []benchmark.Item, todo []int, c Counter) []int {
	lengths := make(map[int]int, len(todo))
	for _, at := range todo {
		lengths[at] = len(items[at].Prompt)
		if c != nil {
			lengths[at] = c.CountTokens(items[at].Prompt)
		}
	}
	order := slices.Clone(todo)
	slices.SortStableFunc(order, func(x, y int) int { return lengths[y] - lengths[x] })
	return order
}

// inBatches calls do with the places of items of like length, of those that todo lists,
// until it fails or the context ends.
func inBatches(ctx context.Context, items []benchmark.Item, todo []int, opt Options, do func(batch []int) error) error {
	order := longestFirst(items, todo, opt.Counter)
	done := len(items) - len(todo)
	for batch := range slices.Chunk(order, opt.Batch) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := do(batch); err != nil {
			return err
		}
		done += len(batch)
		if opt.Progress != nil {
			opt.Progress(done, len(items))
		}
	}
	return nil
}
