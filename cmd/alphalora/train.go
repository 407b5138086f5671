package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

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
tensorboard/, adapter/, checkpoints/ and report.html, a page that shows the run while it goes.
With --dry-run everything is read and checked, the parameters, the memory that is needed and
one sample are shown, and nothing is trained or written; with --resume beside it, it tells
from where the run would go on, what has changed, and why it could not.

--resume goes on from the newest checkpoint, bit for bit as if never stopped, and tells every
key that differs from the run's configuration. Ctrl-C and SIGTERM keep a checkpoint first.`,
		Args:    cobra.NoArgs,
		Example: "  alphalora train --config run.yaml --set training.learning_rate=1e-4 --dry-run",
	}
	path := cmd.Flags().String("config", "", "YAML `FILE` of the run (required)")
	sets := cmd.Flags().StringArray("set", nil, "`KEY=VALUE` over the file's, such as data.cutoff=128 (may be given several times)")
	var how entering
	cmd.Flags().BoolVar(&how.resume, "resume", false, "go on from the newest checkpoint in the output directory")
	cmd.Flags().StringVar(&how.from, "resume-from", "", "go on from the checkpoint called `NAME`, such as step-000400, and drop those after it")
	cmd.Flags().BoolVar(&how.overwrite, "overwrite", false, "write over a run in the output directory")
	trace := cmd.Flags().String("trace", "", "write where each step's time goes to `FILE`, as Chromium and Perfetto show it")
	dry := cmd.Flags().Bool("dry-run", false, "check everything, train nothing")
	_ = cmd.MarkFlagRequired("config")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		run, err := configs.Read(*path, *sets)
		if err != nil {
			return err
		}
		how.resume = how.resume || how.from != ""
		if *dry {
			return a.dryRun(cmd.Context(), run, how)
		}
		how.trace = *trace
		r, _, err := a.trainIn(cmd.Context(), run, how, a.stdout)
		if r != nil {
			r.close()
		}
		return err
	}
	return cmd
}

// dryRun reads and checks everything, and shows it; what is in the output directory too.
func (a *app) dryRun(ctx context.Context, run configs.Run, how entering) error {
	p, err := a.look(run, how)
	if err != nil {
		return err
	}
	r, err := a.prepare(ctx, run)
	if err != nil {
		return err
	}
	defer r.close()
	if err := errors.Join(r.describe(a.stdout), r.checkMemory(a, a.stdout)); err != nil || p.from == "" {
		return err
	}
	o, err := a.options(r, p)
	if err != nil {
		return err
	}
	_, err = train.Resumable(r.model, r.adapter, o)
	return err
}

// trainIn is a whole run, which is described to w. What was trained comes back open.
func (a *app) trainIn(ctx context.Context, run configs.Run, how entering, w io.Writer) (*prepared, *curves, error) {
	p, err := a.enter(run, how)
	if err != nil {
		return nil, nil, err
	}
	defer p.leave()
	r, err := a.prepare(ctx, run)
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(r.describe(w), r.checkMemory(a, w)); err != nil {
		return r, nil, err
	}
	seen, err := a.train(ctx, r, p)
	return r, seen, err
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
	steps int
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
	if err := r.useDevices(a, eng); err != nil {
		return nil, err
	}
	how, err := a.quantised(quantisation{run.ModelQuant, run.QuantCache})
	if err != nil {
		return nil, err
	}
	if run.Init == configs.InitRandom {
		r.model, err = model.NewRandom(eng, d, run.Training.DType, uint64(run.Training.Seed))
	} else {
		r.model, err = model.LoadQuantised(ctx, eng, run.Model, run.Training.DType, how)
	}
	if err != nil {
		return nil, err
	}
	return r, r.makeAdapter()
}

// allocate finds how many experts each layer gets.
func (r *prepared) allocate(ctx context.Context, a *app, d model.Description) error {
	how := r.Allocation
	request := allocationRequest(r.Run, d.Layers)
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

// allocationRequest is what a run asks for, but for the values of the layers: a kind that does
// not mix has one expert in each.
func allocationRequest(run configs.Run, layers int) alphalora.Request {
	how := run.Allocation
	if !run.Adapter.Mixes() {
		return alphalora.Request{Strategy: "uniform", Layers: layers, Total: layers, Rounding: how.Rounding}
	}
	return alphalora.Request{Strategy: how.Strategy, Layers: layers, Total: how.Experts, Beta: how.Beta,
		PerLayer: how.PerLayer, Rounding: how.Rounding}
}

// adapterShape is the shape of a run's fresh adapter with so many experts in each layer.
func adapterShape(how configs.Adapter, experts []int) (moelora.Shape, error) {
	kind, err := moelora.KindNamed(how.Kind)
	if err != nil {
		return moelora.Shape{}, err
	}
	shape := moelora.Shape{Kind: kind, Rank: how.R, Alpha: how.Alpha, Experts: experts, TopK: kind.TopK(experts)}
	for _, name := range how.Targets {
		site, err := model.ParseSite(name)
		if err != nil {
			return shape, err
		}
		shape.Targets = append(shape.Targets, site)
	}
	return shape, nil
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
		shape, err := adapterShape(how, r.allocation.Experts)
		if err != nil {
			return err
		}
		r.allocation.TopK = shape.TopK
		if r.adapter, err = moelora.New(r.model, shape, uint64(r.Training.Seed)); err != nil {
			return err
		}
	}
	r.allocation.TrainableParameters = int64(moelora.Count(r.model.Description, r.adapter.Shape).Trainable)
	return nil
}

// train runs a prepared run and writes its output directory.
func (a *app) train(ctx context.Context, r *prepared, p *place) (*curves, error) {
	if p.from == "" {
		if err := p.clear(r.Output); err != nil {
			return nil, err
		}
	}
	if err := r.writeInputs(a); err != nil {
		return nil, err
	}
	seen := a.watch(r)
	timeline, err := newTimeline(p.trace)
	if err != nil {
		return nil, err
	}
	err = a.run(ctx, r, p, seen.step, func(s train.Span) {
		seen.times.Add(s)
		timeline.add(s)
	})
	if p.trace != "" {
		a.say("time of %d steps, those that compiled aside: %s", seen.times.Steps, shares(seen.times))
	}
	if err == nil {
		err = r.save()
	}
	return seen.curves, errors.Join(err, seen.end(ctx, err), timeline.close())
}

// run trains, hands the metrics of each step to progress, and tells trace where time goes.
func (a *app) run(ctx context.Context, r *prepared, p *place, progress func(train.Metrics), trace func(train.Span)) error {
	o, err := a.options(r, p)
	if err != nil {
		return err
	}
	o.Progress, o.Trace = progress, trace
	return train.Run(ctx, r.model, r.adapter, r.batcher, o)
}

// options says how a run is trained.
func (a *app) options(r *prepared, p *place) (train.Options, error) {
	t := r.Training
	yaml, err := r.YAML()
	if err != nil {
		return train.Options{}, err
	}
	return train.Options{
		Output:        r.Output,
		Schedule:      r.schedule(),
		Optimizer:     train.AdamW{Beta1: t.Betas[0], Beta2: t.Betas[1], Epsilon: t.Epsilon, Decay: t.WeightDecay, NoDecay: roles(t.NoDecay)},
		MaxGradNorm:   t.MaxGradNorm,
		Dropout:       r.Adapter.Dropout,
		MaskPerExpert: r.Adapter.Mask == configs.MaskExpert,
		Balance:       r.Adapter.Balance,
		ZLoss:         r.Adapter.ZLoss,
		CountPadding:  r.Adapter.CountPadding,
		RateRatio:     r.Adapter.RateRatio,
		Rematerialise: t.GradientCheckpointing,
		Flash:         t.Attention == configs.FlashAttention,
		Seed:          t.Seed,
		Validation:    r.validating(),
		Log:           func(line string) { _, _ = fmt.Fprintln(a.stderr, line) },
		Checkpoints: train.Checkpoints{Dir: filepath.Join(r.Output, "checkpoints"), Every: t.CheckpointEvery,
			Keep: t.KeepCheckpoints, Resume: p.from != "", From: p.from, Attach: map[string][]byte{configFile: yaml}},
		Origin: r.origin(),
		Where:  r.samples.Origin,
	}, nil
}

// writeInputs records what the run starts from.
func (r *prepared) writeInputs(a *app) error {
	yaml, err := r.YAML()
	if err != nil {
		return err
	}
	if err := atomicfile.WriteBytes(filepath.Join(r.Output, configFile), yaml); err != nil {
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
		return r.saveTo(filepath.Join(r.Output, "adapter"))
	}
	return r.saveTo(filepath.Join(r.Output, "model"))
}

// modelWeights is the file of a whole model's weights.
const modelWeights = "model.safetensors"

// saveTo is save into a directory. The weights are one file, whole or absent, and all that
// lies beside it is the same throughout a run: what stood there before is replaced at once.
func (r *prepared) saveTo(dir string) error {
	if r.adapter != nil {
		return r.adapter.Save(dir, r.model, r.Adapter.Dropout)
	}
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
	return r.model.Save(filepath.Join(dir, modelWeights), "bfloat16")
}
