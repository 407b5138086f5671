// Package configs is the description of one run of `train`, read from YAML.
//
// Decoding is strict: a key that is not known is an error, with the nearest one that is,
// and everything that is wrong is told at once, each with its key, value and rule. A key
// that is left out has the default written beside it here.
package configs

import "alphalora/model/quant"

// Kinds of adapters.
const (
	MoELoRA = "moe-lora" // a mixture of LoRA experts on every projection; package moelora lists the other kinds
	Full    = "full"     // no adapter: every weight of the model trains
)

// How many dropout masks there are.
const (
	MaskShared = "shared" // one for each input of projections
	MaskExpert = "expert" // one for each expert of each projection
)

// How attention is computed.
const (
	PlainAttention = "plain" // two products and a softmax
	FlashAttention = "flash" // one kernel of cuDNN's, which holds no scores
)

// Where the base model's weights come from.
const (
	InitWeights = "weights" // the model directory's safetensors
	InitRandom  = "random"  // fresh ones, of its config.json; with kind full only
)

// Run is one run.
type Run struct {
	Model      string     `yaml:"model"`       // directory of the base model; required
	Output     string     `yaml:"output"`      // directory that the run writes; required
	Init       string     `yaml:"init"`        // weights or random; default weights
	ModelQuant string     `yaml:"model_quant"` // how the frozen projections are stored: none (in training.dtype), int8 or nf4; default none
	QuantCache string     `yaml:"quant_cache"` // directory of quantised weights, none for nowhere; default the user's cache directory
	Adapter    Adapter    `yaml:"adapter"`
	Allocation Allocation `yaml:"allocation"`
	Data       Data       `yaml:"data"`
	Training   Training   `yaml:"training"`
}

// Adapter says what is trained.
type Adapter struct {
	Kind         string   `yaml:"kind"`            // moe-lora, lora, rslora, dora, lora-plus, loramoe, mixlora or full; default moe-lora
	R            int      `yaml:"r"`               // rank of each expert, 1 or more; default 8
	Alpha        float64  `yaml:"alpha"`           // additions are scaled by alpha/r, above 0; default 16
	Dropout      float64  `yaml:"dropout"`         // probability in [0, 1) that an expert's input is dropped, 0 for none; default 0.05
	Targets      []string `yaml:"targets"`         // projections with experts; default all seven
	Mask         string   `yaml:"dropout_mask"`    // shared: one for each input; expert: one for each expert, as the released code has it, at its cost; default shared
	Balance      float64  `yaml:"balance"`         // coefficient of the balance loss; default 0, none
	CountPadding bool     `yaml:"balance_padding"` // the routing losses count padded positions, as the released code has it; default false
	ZLoss        float64  `yaml:"z_loss"`          // coefficient of the routers' z-loss; default 0, none
	RateRatio    float64  `yaml:"rate_ratio"`      // learning rate of B over that of A; default 0: 16 with lora-plus, otherwise 1
	From         string   `yaml:"from"`            // adapter directory to start from; default none: fresh experts
}

// Allocation says how many experts each layer has. It is used with the kinds that mix experts.
type Allocation struct {
	Strategy  string  `yaml:"strategy"`  // alphalora, uniform, mola-A-B-... or manual; default alphalora
	Experts   int     `yaml:"experts"`   // of all layers together, 1 or more; default 160
	Beta      float64 `yaml:"beta"`      // how strongly values count, 0 not at all; default 2.5
	Estimator string  `yaml:"estimator"` // of alpha; default hill
	Metric    string  `yaml:"metric"`    // what layers are compared by; default alpha
	Rounding  string  `yaml:"rounding"`  // largest-remainder or released; default largest-remainder
	PerLayer  []int   `yaml:"per_layer"` // the counts of strategy manual
	Spectrum  string  `yaml:"spectrum"`  // a file of analyze --json; default: the model is analysed
}

// Data says what is learnt from; docs/data.md tells more of each key.
type Data struct {
	Train         []string  `yaml:"train"`           // JSON, JSONL or Parquet files; required
	Weights       []float64 `yaml:"weights"`         // how often the records of each come in an epoch, above 0; default once
	Validation    []string  `yaml:"validation"`      // files that are never learnt from; default none
	Template      string    `yaml:"template"`        // of instructions: alpaca, chat (the model's) or a file NAME.jinja; default alpaca
	Cutoff        int       `yaml:"cutoff"`          // most tokens of a sample, 2 or more; default 256
	TrainOnInputs bool      `yaml:"train_on_inputs"` // learn the prompt too; default true
	GroupByLength bool      `yaml:"group_by_length"` // like lengths together; default true
	Shuffle       bool      `yaml:"shuffle"`         // a new order each epoch; default true
	Packing       bool      `yaml:"packing"`         // several samples in a row, none of which sees another; default false
	OnError       string    `yaml:"on_error"`        // what a bad record does: stop or skip; default stop
	Cache         string    `yaml:"cache"`           // directory of the temporary file of tokens; default the system's
}

// Training says how.
type Training struct {
	Epochs                int        `yaml:"epochs"`                 // passes over the data; default 20; steps, above 0, goes before it
	Steps                 int        `yaml:"steps"`                  // optimiser steps; default 0: as epochs say
	Batch                 int        `yaml:"batch"`                  // samples of a step, 1 or more; default 128
	MicroBatch            int        `yaml:"micro_batch"`            // rows that run together; divides batch; default 8
	LearningRate          float64    `yaml:"learning_rate"`          // peak, above 0; default 3e-4
	Schedule              string     `yaml:"schedule"`               // linear, cosine, constant or wsd (warm-up, stable, decay); default linear
	WarmupSteps           int        `yaml:"warmup_steps"`           // of linear growth from 0, 0 for none; default 100
	DecaySteps            int        `yaml:"decay_steps"`            // wsd: the last steps, in which the rate falls; default 0: a tenth of all
	MinRate               float64    `yaml:"min_rate"`               // what the rate falls to, as a share of learning_rate, 0 to 1; default 0
	WeightDecay           float64    `yaml:"weight_decay"`           // of AdamW; default 0, none
	NoDecay               []string   `yaml:"no_decay"`               // what does not decay, of projection, norm, bias, embedding, head, expert, router and magnitude; default norm, bias, magnitude
	MaxGradNorm           float64    `yaml:"max_grad_norm"`          // limit of the global norm, 0 for none; default 1
	Betas                 [2]float64 `yaml:"betas"`                  // of AdamW; default 0.9, 0.999
	Epsilon               float64    `yaml:"epsilon"`                // of AdamW; default 1e-8
	ValidateEvery         int        `yaml:"validate_every"`         // steps from one validation to the next; default 0: once an epoch
	Patience              int        `yaml:"patience"`               // end after so many validations without a lower loss; default 0: never
	Seed                  int64      `yaml:"seed"`                   // of weights, order and dropout, any number; default 42
	DType                 string     `yaml:"dtype"`                  // of the base: float32 or bfloat16; default bfloat16
	Attention             string     `yaml:"attention"`              // plain, or flash: cuDNN's kernel, on xla:cuda in bfloat16 alone, no packing; default plain
	GradientCheckpointing bool       `yaml:"gradient_checkpointing"` // recompute layers to save memory; default true
	Devices               Devices    `yaml:"devices"`                // that share each micro-batch's rows, or all; divides micro_batch; default 1
	ShardBase             bool       `yaml:"shard_base"`             // each device holds a part of the frozen weights; default false: each holds all
	CheckpointEvery       int        `yaml:"checkpoint_every"`       // steps between checkpoints, 0 for none; default 200
	KeepCheckpoints       int        `yaml:"keep_checkpoints"`       // the newest that stay, 1 or more; default 3
}

// Defaults is the run that an empty file describes.
func Defaults() Run {
	return Run{
		Init: InitWeights, ModelQuant: quant.None.String(),
		Adapter: Adapter{Kind: MoELoRA, R: 8, Alpha: 16, Dropout: 0.05, Mask: MaskShared,
			Targets: []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}},
		Allocation: Allocation{Strategy: "alphalora", Experts: 160, Beta: 2.5, Estimator: "hill", Metric: "alpha", Rounding: "largest-remainder"},
		Data:       Data{Template: "alpaca", Cutoff: 256, TrainOnInputs: true, GroupByLength: true, Shuffle: true, OnError: "stop"},
		Training: Training{Epochs: 20, Batch: 128, MicroBatch: 8, LearningRate: 3e-4, Schedule: "linear", WarmupSteps: 100,
			MaxGradNorm: 1, NoDecay: []string{"norm", "bias", "magnitude"}, Betas: [2]float64{0.9, 0.999}, Epsilon: 1e-8, Seed: 42, DType: "bfloat16", Attention: PlainAttention,
			GradientCheckpointing: true, Devices: 1, CheckpointEvery: 200, KeepCheckpoints: 3},
	}
}
