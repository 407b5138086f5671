package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"alphalora/eval"
	"alphalora/eval/benchmark"
	"alphalora/internal/fault"
)

// evaluating holds the flags of the verb eval.
type evaluating struct {
	*subject
	benchmarks  []string
	data, split string
	limit       int
	rule        string
	options     eval.Options
}

func evalCommand(a *app) *cobra.Command {
	var names []string
	for _, b := range benchmark.All() {
		names = append(names, b.Name)
	}
	cmd := &cobra.Command{
		Use:   "eval --model MODEL --benchmark NAME[,NAME...] --data DIR",
		Short: "answer reasoning benchmarks and grade the answers",
		Long: `eval writes an answer to every item of a benchmark, greedily, and grades it. DIR is one
benchmark's folder, or holds one folder a benchmark.

Benchmarks: ` + strings.Join(names, ", "),
		Args:    cobra.NoArgs,
		Example: "  alphalora eval --model models/mistral-7b --adapter runs/csqa/adapter --benchmark commonsenseqa --data benchmarks",
	}
	e := &evaluating{subject: addSubject(cmd, "top-k")}
	jsonPath := addJSON(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&e.benchmarks, "benchmark", nil, "names of benchmarks (required)")
	f.StringVar(&e.data, "data", "", "`DIR` of the benchmarks' files (required)")
	f.StringVar(&e.split, "split", "test", "which split to evaluate")
	f.IntVar(&e.limit, "limit", 0, "evaluate only the first items (0: all)")
	f.IntVar(&e.options.MaxNewTokens, "max-new-tokens", 128, "most tokens of one answer")
	f.StringVar(&e.rule, "answer-rule", "", "which answer of several counts: strict, first or last (default: as published for the format)")
	over := f.String("over-context", "allow", "what to do with prompts longer than the model's context: allow, truncate or error")
	samples := f.String("samples", "", "write every answer with its prompt as JSONL to `FILE`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if e.options.OverContext, err = eval.ParsePolicy(*over); err != nil {
			return err
		}
		if err := writable("--samples", *samples); err != nil {
			return err
		}
		report, err := a.evaluate(cmd.Context(), e)
		if err != nil {
			return err
		}
		if err := printScores(a.text(*jsonPath), report.Results); err != nil {
			return err
		}
		if *samples != "" {
			if err := eval.WriteSamples(*samples, report.Results); err != nil {
				return err
			}
		}
		return a.writeJSON(*jsonPath, report)
	}
	return cmd
}

// question is one benchmark with its items.
type question struct {
	benchmark.Benchmark
	items []benchmark.Item
}

// questions reads the items before any model is loaded: what is wrong with them shows at once.
func (e *evaluating) questions() ([]question, error) {
	if len(e.benchmarks) == 0 || e.data == "" {
		return nil, fault.Input("the call", "see alphalora eval --help", "--benchmark and --data are needed")
	}
	if e.limit < 0 {
		return nil, fault.Input(fmt.Sprintf("--limit %d", e.limit), "0 is all items", "is negative")
	}
	var list []question
	for _, name := range e.benchmarks {
		b, err := benchmark.Find(name)
		if err != nil {
			return nil, err
		}
		items, err := b.Load(e.data, e.split)
		if err != nil {
			return nil, err
		}
		if e.limit > 0 && e.limit < len(items) {
			items = items[:e.limit]
		}
		list = append(list, question{b, items})
	}
	return list, nil
}

func (a *app) evaluate(ctx context.Context, e *evaluating) (eval.Report, error) {
	rule, err := benchmark.ParseRule(e.rule)
	if err != nil {
		return eval.Report{}, err
	}
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
	report := eval.Report{Model: e.model, Adapter: e.adapter, Engine: l.Engine.Name, DType: l.DType()}
	for _, q := range list {
		o := e.options
		o.Split, o.Batch, o.Rule, o.Counter = e.split, e.batch, rule, local
		bar := a.progress(len(q.items), q.Name)
		o.Progress = func(done, _ int) { bar.Add(done-bar.done, "") }
		r, err := eval.Run(ctx, local, q.items, q.Benchmark, o)
		if err != nil {
			return report, err
		}
		bar.Done()
		if r.OverContext > 0 {
			a.say("warning: %s: %d prompts are longer than the model's context of %d tokens (--over-context says what is done with them)",
				q.Name, r.OverContext, l.Context)
		}
		report.Results = append(report.Results, r)
	}
	return report, nil
}

// local joins the model with its tokenizer for evaluation.
func (l *loaded) local() (*eval.Local, error) {
	t, err := l.text()
	if err != nil {
		return nil, err
	}
	return &eval.Local{Generator: l.generator, Tokenizer: t, Positions: l.Context}, nil
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
