package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"alphalora/alphalora"
	"alphalora/configs"
	"alphalora/internal/atomicfile"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/tokenizer"
	"alphalora/moelora"
	"alphalora/train"
)

func trainCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "train --config F.yaml",
		Short: "fine-tune a model as a configuration says",
		Long: `train analyses the model, gives its layers experts, fine-tunes them and writes into the
output directory: config.yaml as resolved, spectrum.json, allocation.json, metrics.jsonl,
tensorboard/, adapter/ and report.html, a page that shows the run while it goes. With --dry-run everything is read and checked, the parameters
and one sample are shown, and nothing is trained or written.`,
		Args:    cobra.NoArgs,
		Example: "  alphalora train --config run.yaml --set training.learning_rate=1e-4 --dry-run",
	}
	path := cmd.Flags().String("config", "", "YAML `FILE` of the run (required)")
	sets := cmd.Flags().StringArray("set", nil, "`KEY=VALUE` over the file's, such as data.cutoff=128 (may be given several times)")
	resume := cmd.Flags().Bool("resume", false, "go on from the newest checkpoint in the output directory")
	dry := cmd.Flags().Bool("dry-run", false, "check everything, train nothing")
	_ = cmd.MarkFlagRequired("config")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		run, err := configs.Read(*path, *sets)
		if err != nil {
			return err
		}
		if *resume {
			if err := unchanged(run); err != nil {
				return err
			}
		}
		r, err := a.prepare(cmd.Context(), run)
		if err != nil {
			return err
		}
		r.resume = *resume
		defer r.close()
		if err := r.describe(a.stdout); err != nil || *dry {
			return err
		}
		_, err = a.train(cmd.Context(), r)
		return err
	}
	return cmd
}

// prepared is a run whose inputs are all read and checked.
type prepared struct {
	configs.Run
	model      *model.Model
	adapter    *moelora.Adapter    // nil in full-parameter training
	analysis   *alphalora.Analysis // nil where no spectrum was needed
	allocation *alphalora.Allocation
	tokenizer  *tokenizer.Tokenizer // nil where the data are tokenised and the model has none
	learning
	steps  int
	resume bool
}

func (r *prepared) close() {
	r.learning.close()
	if r.tokenizer != nil {
		r.tokenizer.Close()
	}
}

// prepare reads everything that a run needs, cheapest first.
func (a *app) prepare(ctx context.Context, run configs.Run) (*prepared, error) {
	r := &prepared{Run: run}
	d, err := model.ReadDescription(run.Model)
	if err != nil {
		return nil, err
	}
	if err := r.readData(ctx, a, d); err != nil {
		r.close()
		return nil, err
	}
	if run.Adapter.Kind != configs.Full && run.Adapter.From == "" {
		if err := r.allocate(ctx, a, d); err != nil {
			return nil, err
		}
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return nil, err
	}
	if run.Init == configs.InitRandom {
		r.model, err = model.NewRandom(eng, d, run.Training.DType, uint64(run.Training.Seed))
	} else {
		r.model, err = model.Load(ctx, eng, run.Model, run.Training.DType)
	}
	if err != nil {
		return nil, err
	}
	return r, r.makeAdapter()
}

// allocate finds how many experts each layer gets.
func (r *prepared) allocate(ctx context.Context, a *app, d model.Description) error {
	how := r.Allocation
	request := alphalora.Request{Strategy: how.Strategy, Layers: d.Layers, Total: how.Experts, Beta: how.Beta,
		PerLayer: how.PerLayer, Rounding: how.Rounding}
	if !r.Adapter.Mixes() {
		request = alphalora.Request{Strategy: "uniform", Layers: d.Layers, Total: d.Layers, Rounding: how.Rounding}
	}
	strategy, err := alphalora.StrategyNamed(request.Strategy)
	if err != nil {
		return err
	}
	if strategy.UsesValues {
		if how.Spectrum != "" {
			if r.analysis, err = alphalora.ReadAnalysis(how.Spectrum); err == nil {
				err = a.checkSpectrum(ctx, r.analysis, r.Model)
			}
		} else {
			r.analysis, err = a.analyze(ctx, r.Model, spectral{estimator: how.Estimator, precision: "f64"})
		}
		if err != nil {
			return err
		}
		if len(r.analysis.Layers) != d.Layers {
			return fault.Input(how.Spectrum, "analyse this model", "has %d layers, but %s has %d", len(r.analysis.Layers), r.Model, d.Layers)
		}
		if request.Values, err = r.analysis.LayerValues(how.Metric); err != nil {
			return err
		}
	}
	allocation, err := alphalora.Allocate(request)
	if err != nil {
		return err
	}
	if strategy.UsesValues {
		allocation.Metric, allocation.Estimator = how.Metric, r.analysis.Estimator
	}
	r.allocation = &allocation
	return allocation.Trainable()
}

// makeAdapter makes or loads what will be trained.
func (r *prepared) makeAdapter() (err error) {
	how := r.Adapter
	switch {
	case how.Kind == configs.Full:
		return nil
	case how.From != "":
		if r.adapter, err = moelora.Load(how.From, r.model, 0); err != nil {
			return err
		}
		r.allocation = &alphalora.Allocation{Strategy: "from " + how.From, Experts: r.adapter.Experts, TopK: r.adapter.TopK}
		for _, e := range r.adapter.Experts {
			r.allocation.Total += e
		}
	default:
		kind, err := moelora.KindNamed(how.Kind)
		if err != nil {
			return err
		}
		shape := moelora.Shape{Kind: kind, Rank: how.R, Alpha: how.Alpha, Experts: r.allocation.Experts, TopK: kind.TopK(r.allocation.Experts)}
		r.allocation.TopK = shape.TopK
		for _, name := range how.Targets {
			site, err := model.ParseSite(name)
			if err != nil {
				return err
			}
			shape.Targets = append(shape.Targets, site)
		}
		if r.adapter, err = moelora.New(r.model, shape, uint64(r.Training.Seed)); err != nil {
			return err
		}
	}
	r.allocation.TrainableParameters = int64(moelora.Count(r.model.Description, r.adapter.Shape).Trainable)
	return nil
}

// train runs a prepared run and writes its output directory.
func (a *app) train(ctx context.Context, r *prepared) (*curves, error) {
	if err := os.MkdirAll(r.Output, 0o755); err != nil {
		return nil, fault.Input("output "+r.Output, "choose a directory that can be written", "%v", err)
	}
	if err := r.writeInputs(a); err != nil {
		return nil, err
	}
	seen := a.watch(r)
	err := a.run(ctx, r, seen.step)
	if err == nil {
		err = r.save()
	}
	return seen.curves, errors.Join(err, seen.end(ctx, err))
}

// run trains and hands the metrics of each step to progress.
func (a *app) run(ctx context.Context, r *prepared, progress func(train.Metrics)) error {
	t := r.Training
	return train.Run(ctx, r.model, r.adapter, r.batcher, train.Options{
		Output:        r.Output,
		Schedule:      train.Schedule{Kind: t.Schedule, Peak: t.LearningRate, Warmup: t.WarmupSteps, Total: r.steps},
		Optimizer:     train.AdamW{Beta1: t.Betas[0], Beta2: t.Betas[1], Epsilon: t.Epsilon, Decay: t.WeightDecay},
		MaxGradNorm:   t.MaxGradNorm,
		Dropout:       r.Adapter.Dropout,
		MaskPerExpert: r.Adapter.Mask == configs.MaskExpert,
		Balance:       r.Adapter.Balance,
		ZLoss:         r.Adapter.ZLoss,
		CountPadding:  r.Adapter.CountPadding,
		RateRatio:     r.Adapter.RateRatio,
		Rematerialise: t.GradientCheckpointing,
		Seed:          t.Seed,
		Checkpoints: train.Checkpoints{Dir: filepath.Join(r.Output, "checkpoints"), Every: t.CheckpointEvery,
			Keep: t.KeepCheckpoints, Resume: r.resume},
		Progress: progress,
	})
}

// unchanged refuses to resume a run whose configuration is another one.
func unchanged(run configs.Run) error {
	path := filepath.Join(run.Output, "config.yaml")
	old, err := os.ReadFile(path)
	if err != nil {
		return fault.Input(path, "start without --resume", "there is no run to go on with: %v", fault.Reason(err))
	}
	now, err := run.YAML()
	if err != nil {
		return err
	}
	before, after := strings.Split(string(old), "\n"), strings.Split(string(now), "\n")
	for i := range max(len(before), len(after)) {
		if i >= len(before) || i >= len(after) || before[i] != after[i] {
			return fault.Input(path, "resume with the configuration of the run, or start a new one in another directory",
				"the run had %q, now it is %q", line(before, i), line(after, i))
		}
	}
	return nil
}

func line(lines []string, i int) string {
	if i >= len(lines) {
		return ""
	}
	return strings.TrimSpace(lines[i])
}

// writeInputs records what the run starts from.
func (r *prepared) writeInputs(a *app) error {
	yaml, err := r.YAML()
	if err != nil {
		return err
	}
	if err := atomicfile.WriteBytes(filepath.Join(r.Output, "config.yaml"), yaml); err != nil {
		return err
	}
	if r.analysis != nil {
		if err := a.writeJSON(filepath.Join(r.Output, "spectrum.json"), r.analysis); err != nil {
			return err
		}
	}
	if r.allocation == nil {
		return nil
	}
	return a.writeJSON(filepath.Join(r.Output, "allocation.json"), r.allocation)
}

// save writes the adapter or, in full-parameter training, the model's directory.
func (r *prepared) save() error {
	if r.adapter != nil {
		return r.adapter.Save(filepath.Join(r.Output, "adapter"), r.model, r.Adapter.Dropout)
	}
	dir := filepath.Join(r.Output, "model")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	for _, name := range []string{"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"} {
		content, err := os.ReadFile(filepath.Join(r.Model, name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := atomicfile.WriteBytes(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	return r.model.Save(filepath.Join(dir, "model.safetensors"), "bfloat16")
}
