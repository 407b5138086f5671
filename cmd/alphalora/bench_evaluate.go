package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"alphalora/eval"
	"alphalora/internal/fault"
)

// evaluationSpeed is the JSON of bench evaluate. Rates are items a second.
type evaluationSpeed struct {
	Engine    string     `json:"engine"`
	Benchmark string     `json:"benchmark"`
	Items     int        `json:"items"`
	Batch     int        `json:"batch"`
	Ways      []waySpeed `json:"ways"`
}

type waySpeed struct {
	Way   string  `json:"way"`
	First float64 `json:"first"` // graphs are compiled
	Warm  float64 `json:"warm"`  // they are there
}

func benchEvaluateCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "evaluate --model MODEL --benchmark NAME --data DIR",
		Short: "items a second by generation and by likelihood",
		Long: `bench evaluate evaluates the same items by generation, by likelihood with what choices share
computed once, and by likelihood with every choice a row: each way twice, for the first
time compiles a graph for each shape.`,
		Args:    cobra.NoArgs,
		Example: "  alphalora bench evaluate --model models/mistral-7b --benchmark rte --data benchmarks --limit 64",
	}
	e := &evaluating{subject: addSubject(cmd, "top-k")}
	e.flags(cmd.Flags())
	jsonPath := addJSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := e.check(); err != nil {
			return err
		}
		r, err := a.benchEvaluate(cmd.Context(), e)
		if err != nil {
			return err
		}
		for _, w := range r.Ways {
			_, _ = fmt.Fprintf(a.text(*jsonPath), "%-28s %8.1f items/s at first, %8.1f warm\n", w.Way, w.First, w.Warm)
		}
		return a.writeJSON(*jsonPath, r)
	}
	return cmd
}

func (a *app) benchEvaluate(ctx context.Context, e *evaluating) (r evaluationSpeed, err error) {
	list, err := e.questions()
	if err != nil {
		return r, err
	}
	if len(list) != 1 {
		return r, fault.Input("--benchmark", "name one", "names %d benchmarks", len(list))
	}
	l, err := a.load(ctx, e.subject)
	if err != nil {
		return r, err
	}
	defer l.close()
	local, err := l.local()
	if err != nil {
		return r, err
	}
	q := list[0]
	e.options.Counter = local
	r = evaluationSpeed{Engine: l.Engine.Name, Benchmark: q.Name, Items: len(q.items), Batch: e.batch}
	for _, way := range evaluationWays(ctx, local, q, e.options) {
		w := waySpeed{Way: way.name}
		for _, rate := range []*float64{&w.First, &w.Warm} {
			result, err := way.run()
			if err != nil {
				return r, err
			}
			*rate = result.ItemsPerSecond
		}
		r.Ways = append(r.Ways, w)
	}
	return r, nil
}

// evaluationWay is a way to answer a benchmark.
type evaluationWay struct {
	name string
	run  func() (eval.Result, error)
}

func evaluationWays(ctx context.Context, local *eval.Local, q question, o eval.Options) []evaluationWay {
	likeliest := func(sc eval.Scorer) func() (eval.Result, error) {
		return func() (eval.Result, error) {
			r, _, err := eval.RunLikelihood(ctx, sc, q.items, q.Benchmark, o)
			return r, err
		}
	}
	ways := []evaluationWay{{"generation", func() (eval.Result, error) { return eval.Run(ctx, local, q.items, q.Benchmark, o) }}}
	if len(q.items[0].Choices) == 0 {
		return ways
	}
	rows := *local
	rows.Forks = nil
	return append(ways, evaluationWay{"likelihood, shared prefixes", likeliest(local)}, evaluationWay{"likelihood, choices as rows", likeliest(&rows)})
}
