package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"alphalora/eval"
	"alphalora/eval/benchmark"
	"alphalora/internal/fault"
	"alphalora/model"
)

// evaluating holds the flags of the verb eval.
type evaluating struct {
	*subject
	benchmarks             []string
	data, split, samples   string
	limit                  int
	by, rule, prompt, over string
	shared                 bool
	options                eval.Options
}

func evalCommand(a *app) *cobra.Command {
	var names []string
	for _, b := range benchmark.All() {
		names = append(names, b.Name)
	}
	cmd := &cobra.Command{
		Use:   "eval --model MODEL --benchmark NAME[,NAME...] --data DIR",
		Short: "answer reasoning benchmarks and grade the answers",
		Long: `eval writes an answer to every item of a benchmark, greedily, and grades it; or, for base
models that do not follow the format, takes the choice that the model finds likeliest
(--by likelihood). DIR is one benchmark's folder, or holds one folder a benchmark, of the
official files or of those that "alphalora data prepare" writes.

With --samples FILE, answers go to FILE` + eval.PartialSuffix + ` as they come. When the same call is
repeated after an interruption it goes on from there; a call with anything else changed
is refused.

Benchmarks: ` + strings.Join(names, ", "),
		Args:    cobra.NoArgs,
		Example: "  alphalora eval --model models/mistral-7b --adapter runs/csqa/adapter --benchmark commonsenseqa --data benchmarks",
	}
	e := &evaluating{subject: addSubject(cmd, "top-k")}
	addDevices(cmd, e.subject)
	jsonPath := addJSON(cmd)
	e.flags(cmd.Flags())
	cmd.Flags().StringVar(&e.samples, "samples", "", "write every answer with its prompt as JSONL to `FILE`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := e.check(); err != nil {
			return err
		}
		report, err := a.evaluate(cmd.Context(), e)
		if err != nil {
			return err
		}
		if err := printScores(a.text(*jsonPath), report.Results); err != nil {
			return err
		}
		return a.writeJSON(*jsonPath, report)
	}
	return cmd
}

func (e *evaluating) flags(f *pflag.FlagSet) {
	f.StringSliceVar(&e.benchmarks, "benchmark", nil, "names of benchmarks, or of folders of DIR with a benchmark.json (required)")
	f.StringVar(&e.data, "data", "", "`DIR` of the benchmarks' files (required)")
	f.StringVar(&e.split, "split", "test", "which split to evaluate")
	f.IntVar(&e.limit, "limit", 0, "evaluate only the first items (0: all)")
	f.StringVar(&e.by, "by", string(eval.ModeGeneration), "how an answer is got: generation, likelihood or likelihood-normalised (per token)")
	f.StringVar(&e.prompt, "prompt", string(benchmark.Alpaca), "wrapper of the questions: alpaca, or metamath for number questions")
	f.IntVar(&e.options.MaxNewTokens, "max-new-tokens", 128, "most tokens of one answer")
	f.StringVar(&e.rule, "answer-rule", "", "which answer of several counts: strict, first or last (default: as published for the format)")
	f.StringVar(&e.over, "over-context", "allow", "what to do with prompts longer than the model's context: allow, truncate or error")
	f.BoolVar(&e.shared, "shared-prefix", true, "by likelihood: compute what the choices of a prompt share once (false: every choice anew)")
}

// check reads the flags that are names.
func (e *evaluating) check() (err error) {
	if _, err = eval.ParseMode(e.by); err != nil {
		return err
	}
	if e.options.OverContext, err = eval.ParsePolicy(e.over); err != nil {
		return err
	}
	if e.options.Rule, err = benchmark.ParseRule(e.rule); err != nil {
		return err
	}
	if e.options.Prompt, err = benchmark.ParseTemplate(e.prompt); err != nil {
		return err
	}
	e.options.Split, e.options.Batch, e.options.PerToken = e.split, e.batch, e.mode() == eval.ModeLikelihoodNormalised
	if e.samples == "" {
		return nil
	}
	return writable("--samples", e.samples)
}

func (e *evaluating) mode() eval.Mode { return eval.Mode(e.by) }

// question is one benchmark with its items.
type question struct {
	benchmark.Benchmark
	items []benchmark.Item
}

// questions reads the items before any model is loaded: what is wrong with them shows at once.
func (e *evaluating) questions() ([]question, error) {
	if len(e.benchmarks) == 0 || e.data == "" {
		return nil, fault.Input("the call", "see --help", "--benchmark and --data are needed")
	}
	if e.limit < 0 {
		return nil, fault.Input(fmt.Sprintf("--limit %d", e.limit), "0 is all items", "is negative")
	}
	var list []question
	for i, name := range e.benchmarks {
		if slices.Contains(e.benchmarks[:i], name) {
			return nil, fault.Input("--benchmark "+name, "name it once", "comes twice")
		}
		q, err := e.question(name)
		if err != nil {
			return nil, err
		}
		list = append(list, q)
	}
	return list, nil
}

func (e *evaluating) question(name string) (question, error) {
	b, err := benchmark.FindIn(e.data, name)
	if err != nil {
		return question{}, err
	}
	if e.mode() != eval.ModeGeneration && b.Format == benchmark.Number {
		return question{}, fault.Input("--by "+e.by, "evaluate "+name+" by generation", "needs choices, and %s has none", name)
	}
	items, err := b.Load(e.data, e.split)
	if err != nil {
		return question{}, err
	}
	if e.limit > 0 && e.limit < len(items) {
		items = items[:e.limit]
	}
	items, err = b.Ask(items, e.options.Prompt)
	return question{b, items}, err
}

func (a *app) evaluate(ctx context.Context, e *evaluating) (eval.Report, error) {
	list, err := e.questions()
	if err != nil {
		return eval.Report{}, err
	}
	l, err := a.load(ctx, e.subject)
	if err != nil {
		return eval.Report{}, err
	}
	defer l.close()
	local, err := l.local()
	if err != nil {
		return eval.Report{}, err
	}
	if !e.shared {
		local.Forks = nil
	}
	report := eval.Report{Model: e.model, Adapter: e.adapter, Engine: l.Engine.Name, DType: l.DType(), Batch: e.batch, Decoding: "greedy", Program: readBuild().version()}
	journal, err := a.journal(e, l, list)
	if err != nil {
		return report, err
	}
	for _, q := range list {
		r, err := a.answer(ctx, e, q, local, journal)
		if err != nil {
			return report, errors.Join(err, a.kept(journal, e.samples))
		}
		report.Results = append(report.Results, r)
	}
	if journal == nil {
		return report, nil
	}
	if err := eval.WriteSamples(e.samples, report.Results); err != nil {
		return report, errors.Join(err, journal.Close())
	}
	return report, journal.Remove()
}

// answer evaluates one benchmark.
func (a *app) answer(ctx context.Context, e *evaluating, q question, local *eval.Local, journal *eval.Journal) (eval.Result, error) {
	o := e.options
	o.Batch *= local.Generator.Devices() // as many rows as ever on each device
	o.Counter = local
	if journal != nil {
		o.Done, o.Record = journal.Done(q.Name), journal.Append
	}
	bar := a.progress(len(q.items), q.Name)
	o.Progress = func(done, _ int) { bar.Add(done-bar.done, "") }
	var r, perToken eval.Result
	var err error
	if e.mode() == eval.ModeGeneration {
		r, err = eval.Run(ctx, local, q.items, q.Benchmark, o)
	} else {
		r, perToken, err = eval.RunLikelihood(ctx, local, q.items, q.Benchmark, o)
	}
	if err != nil {
		return r, err
	}
	if e.mode() == eval.ModeLikelihoodNormalised {
		r = perToken
	}
	bar.Done()
	if r.OverContext > 0 {
		a.say("warning: %s: %d prompts are longer than the model's context of %d tokens (--over-context says what is done with them)",
			q.Name, r.OverContext, local.Positions)
	}
	return r, nil
}

// local joins the model with its tokenizer for evaluation.
func (l *loaded) local() (*eval.Local, error) {
	t, err := l.text()
	if err != nil {
		return nil, err
	}
	if l.forks == nil {
		var adapter model.Adapter
		if l.adapter != nil {
			adapter = l.adapter
		}
		if l.forks, err = eval.NewForks(l.Model, adapter); err != nil {
			return nil, err
		}
	}
	return &eval.Local{Generator: l.generator, Forks: l.forks, Tokenizer: t, Positions: l.Context}, nil
}

// printScores prints one line a benchmark.
func printScores(w io.Writer, results []eval.Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "benchmark\titems\tcorrect\taccuracy\t95 % interval\tmajority\tunparsed\t")
	for _, r := range results {
		majority := "-"
		if r.Majority != nil {
			majority = percent(*r.Majority)
		}
		_, _ = fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s to %s\t%s\t%d\t\n",
			r.Benchmark, r.Items, r.Correct, percent(r.Accuracy), percent(r.CI95[0]), percent(r.CI95[1]), majority, r.Unparsed)
	}
	return t.Flush()
}

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }
