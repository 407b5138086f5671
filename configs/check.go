package configs

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"alphalora/alphalora"
	"alphalora/model"
	"alphalora/model/quant"
	"alphalora/moelora"
	"alphalora/train"
)

// check holds the rules on single values and between them.
func (r Run) check(allocated bool) (problems []string) {
	rule := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	rule(r.Model != "", "model is missing: name a model directory")
	rule(r.Output != "", "output is missing: name a directory")
	rule(slices.Contains([]string{InitWeights, InitRandom}, r.Init), "init is %q: weights or random is needed", r.Init)
	rule(r.Init != InitRandom || r.Adapter.Kind == Full, "init is random: only adapter.kind full can start from fresh weights")
	stored, err := quant.Parse(r.ModelQuant)
	rule(err == nil, "model_quant is %q: none, int8 or nf4 is needed", r.ModelQuant)
	rule(stored == quant.None || r.Adapter.Kind != Full, "model_quant is %s, but adapter.kind full trains the weights themselves: leave it out, or train an adapter", r.ModelQuant)
	r.Adapter.check(rule)
	switch {
	case r.Adapter.From != "":
		rule(!allocated, "allocation stands beside adapter.from: the adapter's own counts are used, remove it")
	case r.Adapter.Mixes():
		r.Allocation.check(rule)
	default:
		rule(!allocated, "allocation is set, but adapter.kind %s has none: remove it", r.Adapter.Kind)
	}
	r.Data.check(rule)
	r.Training.check(rule)
	rule(!r.Training.ShardBase || r.Training.Devices != 1, "training.shard_base is true, but training.devices is 1: there is nobody to share with")
	rule(!r.Training.ShardBase || r.Adapter.Kind != Full, "training.shard_base is true, but with adapter.kind full nothing is frozen: remove it")
	rule(!r.Training.ShardBase || r.Adapter.Kind != moelora.DoRA.Name || r.Adapter.From != "",
		"training.shard_base is true, but a new adapter of kind dora starts from norms of whole weights: remove it, or give adapter.from")
	rule(len(r.Data.Validation) > 0 || (r.Training.ValidateEvery == 0 && r.Training.Patience == 0),
		"training.validate_every or patience is set, but data.validation is empty: name files there")
	return problems
}

type ruler func(ok bool, format string, args ...any)

func (a Adapter) check(rule ruler) {
	names := []string{Full}
	for _, kind := range moelora.Kinds() {
		names = append(names, kind.Name)
	}
	rule(slices.Contains(names, a.Kind), "adapter.kind is %q: one of %s is needed", a.Kind, strings.Join(names, ", "))
	rule(a.Mask == MaskShared || a.Mask == MaskExpert, "adapter.dropout_mask is %q: shared or expert is needed", a.Mask)
	rule(finite(a.ZLoss) && a.ZLoss >= 0, "adapter.z_loss is %v: 0 or more is needed", a.ZLoss)
	rule(finite(a.RateRatio) && a.RateRatio >= 0, "adapter.rate_ratio is %v: a number above 0, or 0 for the kind's own, is needed", a.RateRatio)
	rule(a.R >= 1 && a.R <= 1<<16, "adapter.r is %d: 1 or more is needed", a.R)
	rule(finite(a.Alpha) && a.Alpha > 0, "adapter.alpha is %v: a number above 0 is needed", a.Alpha)
	rule(a.Dropout >= 0 && a.Dropout < 1, "adapter.dropout is %v: at least 0 and below 1 is needed", a.Dropout)
	rule(finite(a.Balance) && a.Balance >= 0, "adapter.balance is %v: 0 or more is needed", a.Balance)
	rule(len(a.Targets) > 0, "adapter.targets is empty: at least one projection is needed")
	rule(a.From == "" || a.Kind != Full, "adapter.from is set, but kind full has no adapter")
	known := Defaults().Adapter.Targets
	for i, t := range a.Targets {
		rule(slices.Contains(known, t), "adapter.targets has %q: one of the seven projections is needed", t)
		rule(!slices.Contains(a.Targets[:i], t), "adapter.targets has %s twice", t)
	}
}

// Mixes tells whether layers can have several experts, which are allocated.
func (a Adapter) Mixes() bool {
	kind, err := moelora.KindNamed(a.Kind)
	return err == nil && !kind.Single
}

func (a Allocation) check(rule ruler) {
	named := func(key string, err error) { rule(err == nil, "allocation.%s: %v", key, err) }
	_, err := alphalora.StrategyNamed(a.Strategy)
	named("strategy", err)
	_, err = alphalora.EstimatorNamed(a.Estimator)
	named("estimator", err)
	_, err = alphalora.MetricNamed(a.Metric)
	named("metric", err)
	_, err = alphalora.RoundingNamed(a.Rounding)
	named("rounding", err)
	rule(a.Experts >= 1 && a.Experts <= alphalora.MaxExperts, "allocation.experts is %d: 1 to %d is needed", a.Experts, alphalora.MaxExperts)
	rule(finite(a.Beta) && a.Beta >= 0, "allocation.beta is %v: 0 or more is needed", a.Beta)
	rule((a.Strategy == "manual") == (len(a.PerLayer) > 0), "allocation.per_layer and strategy manual go together")
}

// maxWeight is how often a file can come in an epoch.
const maxWeight = 1000

func (d Data) check(rule ruler) {
	rule(len(d.Train) > 0, "data.train is empty: at least one file is needed")
	rule(len(d.Weights) == 0 || len(d.Weights) == len(d.Train), "data.weights has %d numbers for the %d files of train: one each is needed", len(d.Weights), len(d.Train))
	for _, w := range d.Weights {
		rule(w > 0 && w <= maxWeight, "data.weights has %v: above 0 and at most %d is needed", w, maxWeight)
	}
	for _, path := range d.Validation {
		rule(!slices.Contains(d.Train, path), "data.validation has %s, which is in data.train: what is learnt tells nothing", path)
	}
	rule(d.Template == "alpaca" || d.Template == "chat" || strings.HasSuffix(d.Template, ".jinja"),
		"data.template is %q: alpaca, chat or the name of a .jinja file is needed", d.Template)
	rule(d.OnError == "stop" || d.OnError == "skip", "data.on_error is %q: stop or skip is needed", d.OnError)
	rule(d.Cutoff >= 2 && d.Cutoff <= 1<<20, "data.cutoff is %d: 2 to %d is needed", d.Cutoff, 1<<20)
}

func (t Training) check(rule ruler) {
	rule(t.Steps >= 0 && t.Steps <= 1<<30, "training.steps is %d: 0 or more is needed", t.Steps)
	rule(t.Epochs >= 0 && t.Epochs <= 1<<20, "training.epochs is %d: 0 or more is needed", t.Epochs)
	rule(t.Steps > 0 || t.Epochs > 0, "training.steps and training.epochs are both 0: nothing to do")
	rule(t.Batch >= 1 && t.Batch <= 1<<20, "training.batch is %d: 1 or more is needed", t.Batch)
	rule(t.MicroBatch >= 1 && t.Batch%max(t.MicroBatch, 1) == 0, "training.micro_batch is %d: a divisor of batch %d is needed", t.MicroBatch, t.Batch)
	rule(finite(t.LearningRate) && t.LearningRate > 0, "training.learning_rate is %v: a number above 0 is needed", t.LearningRate)
	t.checkSchedule(rule)
	rule(finite(t.WeightDecay) && t.WeightDecay >= 0, "training.weight_decay is %v: 0 or more is needed", t.WeightDecay)
	for i, role := range t.NoDecay {
		rule(slices.Contains(model.Roles(), model.Role(role)), "training.no_decay has %q: some of %v are needed", role, model.Roles())
		rule(!slices.Contains(t.NoDecay[:i], role), "training.no_decay has %s twice", role)
	}
	rule(t.ValidateEvery >= 0, "training.validate_every is %d: 0 or more is needed", t.ValidateEvery)
	rule(t.Patience >= 0, "training.patience is %d: 0 or more is needed", t.Patience)
	rule(finite(t.MaxGradNorm) && t.MaxGradNorm >= 0, "training.max_grad_norm is %v: 0 or more is needed", t.MaxGradNorm)
	for _, b := range t.Betas {
		rule(b >= 0 && b < 1, "training.betas has %v: at least 0 and below 1 is needed", b)
	}
	rule(finite(t.Epsilon) && t.Epsilon > 0, "training.epsilon is %v: a number above 0 is needed", t.Epsilon)
	rule(t.DType == "float32" || t.DType == "bfloat16", "training.dtype is %q: float32 or bfloat16 is needed", t.DType)
	rule(t.Attention == PlainAttention || t.Attention == FlashAttention, "training.attention is %q: plain or flash is needed", t.Attention)
	rule(t.CheckpointEvery >= 0, "training.checkpoint_every is %d: 0 or more is needed", t.CheckpointEvery)
	rule(t.KeepCheckpoints >= 1, "training.keep_checkpoints is %d: 1 or more is needed", t.KeepCheckpoints)
}

func (t Training) checkSchedule(rule ruler) {
	rule(slices.Contains(train.Schedules(), t.Schedule), "training.schedule is %q: one of %s is needed", t.Schedule, strings.Join(train.Schedules(), ", "))
	rule(t.WarmupSteps >= 0, "training.warmup_steps is %d: 0 or more is needed", t.WarmupSteps)
	rule(t.Steps == 0 || t.WarmupSteps <= t.Steps, "training.warmup_steps is %d: at most steps, %d, is needed", t.WarmupSteps, t.Steps)
	rule(t.DecaySteps >= 0, "training.decay_steps is %d: 0 or more is needed", t.DecaySteps)
	rule(t.Schedule == train.WSD || t.DecaySteps == 0, "training.decay_steps is set, but schedule %s has none: remove it", t.Schedule)
	rule(t.Steps == 0 || t.WarmupSteps > t.Steps || t.WarmupSteps+t.DecaySteps <= t.Steps,
		"training.decay_steps is %d: with warmup_steps at most steps, %d, is needed", t.DecaySteps, t.Steps)
	rule(finite(t.MinRate) && t.MinRate >= 0 && t.MinRate <= 1, "training.min_rate is %v: 0 to 1 is needed", t.MinRate)
	rule(t.Schedule != train.Constant || t.MinRate == 0, "training.min_rate is set, but schedule constant never falls: remove it")
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
