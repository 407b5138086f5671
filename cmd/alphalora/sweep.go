package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"alphalora/alphalora"
	"alphalora/configs"
	"alphalora/eval"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/moelora"
	"alphalora/train"
)

// sweeping holds the flags of the verb sweep.
type sweeping struct {
	strategies, metrics, zeroShot []string
	experts                       []int
	seeds                         []int64
	evaluating
	base configs.Run // the configuration, of which each cell changes what the flags name
}

func sweepCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sweep --config F.yaml --experts N[,N...] --seeds N[,N...] --benchmark NAME[,NAME...] --data DIR",
		Short: "train and evaluate strategies × budgets × metrics × seeds, and compare them",
		Long: `sweep trains and evaluates one configuration with every combination of strategies, totals of
experts, metrics (where the strategy goes by values) and seeds. The strategy lora is plain LoRA,
one expert a layer, of the same total rank.

In the configuration's output directory: runs/ with a directory of train for each run and its
eval.json, sweep.json, sweep.csv, sweep.html and charts/. Cells that give the same experts to the
same layers with the same seed are one run. A call that was stopped goes on when it is repeated,
and a call with other strategies, totals, metrics or seeds adds its cells: the table covers all
that are done.
A call with another configuration, model, data or question is refused.`,
		Args: cobra.NoArgs,
		Example: "  alphalora sweep --config run.yaml --strategies alphalora,mola-2468,uniform --experts 80,160,224 --seeds 1,2,3" +
			" --benchmark commonsenseqa --data benchmarks",
	}
	s := &sweeping{evaluating: evaluating{subject: &subject{}}}
	f := cmd.Flags()
	path := f.String("config", "", "YAML `FILE` of the runs (required)")
	sets := f.StringArray("set", nil, "`KEY=VALUE` over the file's (may be given several times)")
	f.StringSliceVar(&s.strategies, "strategies", []string{"alphalora", "mola-2468", "mola-8642", "uniform", plainLoRA}, "`STRATEGIES` of allocate, and lora")
	f.IntSliceVar(&s.experts, "experts", nil, "`TOTALS` of experts of all layers together (required)")
	f.StringSliceVar(&s.metrics, "metrics", []string{alphalora.Metrics()[0].Name}, "`METRICS` for the strategies that go by values")
	f.Int64SliceVar(&s.seeds, "seeds", nil, "`SEEDS` of weights, order and dropout (required)")
	f.StringSliceVar(&s.zeroShot, "zero-shot", nil, "those of the benchmarks that the data do not teach, summed up apart")
	f.IntVar(&s.batch, "batch", 8, "prompts that are answered together")
	s.flags(f)
	jsonPath := addJSON(cmd)
	_ = cmd.MarkFlagRequired("config")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if s.base, err = configs.Read(*path, *sets); err != nil {
			return err
		}
		if err := errors.Join(s.checkConfig(*path), s.checkGrid(), s.check()); err != nil {
			return err
		}
		result, err := a.sweep(cmd.Context(), s)
		if err != nil {
			return err
		}
		if err := result.print(a.text(*jsonPath)); err != nil {
			return err
		}
		return a.writeJSON(*jsonPath, result)
	}
	return cmd
}

// plainLoRA is the strategy that shares nothing out: one expert a layer.
const plainLoRA = "lora"

// checkConfig refuses configurations over which nothing can be swept.
func (s *sweeping) checkConfig(path string) error {
	switch {
	case !s.base.Adapter.Mixes():
		return fault.Input(path, "choose a kind that mixes experts", "adapter.kind %s has one expert a layer", s.base.Adapter.Kind)
	case s.base.Adapter.From != "":
		return fault.Input(path, "remove it", "adapter.from has its own experts")
	case len(s.base.Allocation.PerLayer) > 0 || s.base.Allocation.Spectrum != "":
		return fault.Input(path, "remove them", "allocation.per_layer and spectrum have no place in a sweep, which measures and allocates itself")
	}
	return nil
}

// checkGrid refuses lists that are empty, have an entry twice, or one that is not known.
func (s *sweeping) checkGrid() error {
	var problems []error
	for flag, err := range map[string]error{
		"--strategies": each(s.strategies, checkStrategy), "--experts": each(s.experts, checkTotal),
		"--metrics":   each(s.metrics, func(name string) error { _, err := alphalora.MetricNamed(name); return err }),
		"--seeds":     each(s.seeds, func(int64) error { return nil }),
		"--benchmark": each(s.benchmarks, func(string) error { return nil }),
	} {
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", flag, err))
		}
	}
	slices.SortFunc(problems, func(x, y error) int { return strings.Compare(x.Error(), y.Error()) })
	for _, name := range s.zeroShot {
		if !slices.Contains(s.benchmarks, name) {
			problems = append(problems, fault.Input("--zero-shot "+name, "name it in --benchmark too", "is not evaluated"))
		}
	}
	if len(s.zeroShot) > 0 && len(s.taught()) == 0 {
		problems = append(problems, fault.Input("--zero-shot", "leave one out", "names every benchmark"))
	}
	return errors.Join(problems...)
}

// taught are the benchmarks that the data teach.
func (s *sweeping) taught() (list []string) {
	for _, name := range s.benchmarks {
		if !slices.Contains(s.zeroShot, name) {
			list = append(list, name)
		}
	}
	return list
}

func each[T comparable](list []T, check func(T) error) error {
	if len(list) == 0 {
		return fault.Input("the list", "name one or more", "is empty")
	}
	for i, one := range list {
		if slices.Contains(list[:i], one) {
			return fault.Input(fmt.Sprint(one), "name it once", "comes twice")
		}
		if err := check(one); err != nil {
			return err
		}
	}
	return nil
}

func checkStrategy(name string) error {
	if name == plainLoRA {
		return nil
	}
	strategy, err := alphalora.StrategyNamed(name)
	if err == nil && strategy.Name == "manual" {
		return fault.Input(name, "as alphalora, uniform or mola-2468", "a list of counts has one total only")
	}
	return err
}

func checkTotal(experts int) error {
	if experts < 1 || experts > alphalora.MaxExperts {
		return fault.Input(fmt.Sprint(experts), "", "must be from 1 to %d", alphalora.MaxExperts)
	}
	return nil
}

// sweep runs what is left to run, and sums up all of it. What is done when it is stopped is
// summed up in the output directory too.
func (a *app) sweep(ctx context.Context, s *sweeping) (*swept, error) {
	questions, err := s.questions()
	if err != nil {
		return nil, err
	}
	lock, err := train.NewLock(s.base.Output)
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	p, err := a.planned(ctx, s, questions)
	if err != nil {
		return nil, err
	}
	stopped := a.runAll(ctx, s, p)
	result, err := s.sumUp(p)
	if err != nil {
		return nil, cmp.Or(stopped, err)
	}
	if stopped != nil {
		a.say("sweep: %d of %d cells are done, the same call goes on from there", len(result.Cells), len(p.trials))
	}
	if len(result.Cells) > 0 {
		err = a.publish(result, p)
	}
	return result, errors.Join(stopped, err)
}

// runAll runs the call's cells that are not done. Those that earlier calls left are theirs.
func (a *app) runAll(ctx context.Context, s *sweeping, p *plan) error {
	asked := s.cells()
	for i, t := range p.trials {
		if !slices.Contains(asked, t.cell) {
			continue
		}
		if t.sharedWith >= 0 {
			t = p.trials[t.sharedWith]
		}
		switch done, err := t.done(); {
		case err != nil:
			return err
		case done:
			continue
		}
		a.say("sweep: cell %d of %d: %s with %d experts %v, seed %d", i+1, len(p.trials), t.label(), t.Experts, t.Allocation, t.Seed)
		if err := a.try(ctx, s, t); err != nil {
			return plainly(ctx, err)
		}
	}
	return nil
}

// plainly is an interruption without what training says of it: the sweep has its own way to
// go on. Failures that came with it stay.
func plainly(ctx context.Context, err error) error {
	var training *train.Stopped
	if !errors.As(err, &training) {
		return err
	}
	kept := []error{ctx.Err()}
	for _, one := range parts(err) {
		if !errors.Is(one, context.Canceled) {
			kept = append(kept, one)
		}
	}
	return errors.Join(kept...)
}

// try trains one run and evaluates it. What an earlier call began goes on.
func (a *app) try(ctx context.Context, s *sweeping, t trial) error {
	how := entering{overwrite: true} // what a call that was killed at its start has left
	if _, err := os.Stat(filepath.Join(t.dir, configFile)); err == nil {
		how = entering{resume: true}
	}
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return err
	}
	r, _, err := a.trainIn(ctx, t.run, how, io.Discard)
	if r != nil {
		r.close()
		r.model.Free()
		if r.adapter != nil {
			r.adapter.Params.Free()
		}
	}
	if err != nil {
		return err
	}
	asked := s.evaluating
	asked.subject = &subject{model: t.run.Model, adapter: filepath.Join(t.dir, "adapter"), dtype: t.run.Training.DType, batch: s.batch}
	asked.samples = filepath.Join(t.dir, "samples.jsonl")
	answers, err := a.evaluate(ctx, &asked)
	if err != nil {
		return err
	}
	return a.writeJSON(t.evalPath(), answers)
}

// trial is a cell with what it trains.
type trial struct {
	cell
	Allocation []int
	Trainable  int // parameters
	run        configs.Run
	dir        string
	sharedWith int // the trial whose run it is, or -1
}

func (t trial) evalPath() string { return filepath.Join(t.dir, "eval.json") }

// done tells whether the run is finished, and refuses a result that is not one.
func (t trial) done() (bool, error) {
	if _, err := os.Stat(t.evalPath()); err != nil {
		return false, nil
	}
	_, err := eval.ReadGraded(t.evalPath())
	return err == nil, err
}

// trial makes a cell's run: the configuration with what the cell says.
func (s *sweeping) trial(c cell, analysis *alphalora.Analysis, d model.Description) (t trial, err error) {
	run := s.base
	run.Training.Seed = c.Seed
	run.Allocation.Strategy, run.Allocation.Experts = c.Strategy, c.Experts
	if c.Metric != "" {
		run.Allocation.Metric, run.Allocation.Spectrum = c.Metric, filepath.Join(s.base.Output, spectrumFile)
	}
	if c.Strategy == plainLoRA {
		run.Adapter.Kind = moelora.LoRA.Name
		run.Adapter.R = max(1, (2*c.Experts*s.base.Adapter.R+d.Layers)/(2*d.Layers)) // rounded
		run.Adapter.Alpha = s.base.Adapter.Alpha / float64(s.base.Adapter.R) * float64(run.Adapter.R)
		run.Adapter.Balance, run.Adapter.ZLoss = 0, 0 // it has no routers
		run.Allocation = configs.Defaults().Allocation
	}
	request := allocationRequest(run, d.Layers)
	if c.Metric != "" {
		if request.Values, err = analysis.LayerValues(c.Metric); err != nil {
			return t, err
		}
	}
	allocation, err := alphalora.Allocate(request)
	if err != nil {
		return t, err
	}
	if err := allocation.Trainable(); err != nil {
		return t, err
	}
	shape, err := adapterShape(run.Adapter, allocation.Experts)
	if err != nil {
		return t, err
	}
	t = trial{cell: c, Allocation: allocation.Experts, Trainable: int(moelora.Count(d, shape).Trainable), sharedWith: -1}
	t.dir = filepath.Join(s.base.Output, "runs", runName(run, allocation.Experts))
	run.Output = t.dir
	t.run = run
	return t, nil
}
