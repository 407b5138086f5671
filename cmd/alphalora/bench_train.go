package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"alphalora/configs"
	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/nn"
	"alphalora/moelora"
	"alphalora/train"
	"alphalora/train/data"
)

// trainSpeed is the JSON of bench train.
type trainSpeed struct {
	Engine          string    `json:"engine"`
	Shape           string    `json:"shape"`          // or the model's directory
	RandomWeights   bool      `json:"random_weights"` // not the directory's own
	Kind            string    `json:"kind"`
	DType           string    `json:"dtype"`
	ModelQuant      string    `json:"model_quant"`
	Experts         []int     `json:"experts"`
	Rank            int       `json:"r"`
	Attention       string    `json:"attention"`
	Checkpointing   bool      `json:"gradient_checkpointing"`
	Rows            int       `json:"rows"`
	Length          int       `json:"length"`
	Trainable       int       `json:"trainable_parameters"`
	Steps           []float64 `json:"steps_seconds"` // the counted ones, sorted
	Step            float64   `json:"step_seconds"`  // their median
	First           float64   `json:"first_step_seconds"`
	TokensPerSecond float64   `json:"tokens_per_second"`
	Flops           float64   `json:"flops"`            // of the products of a step
	Rate            float64   `json:"flops_per_second"` // of one large product, measured here
	Floor           float64   `json:"floor_seconds"`    // flops / rate
	OfFloor         float64   `json:"of_floor"`         // floor / step
	PeakBytes       int64     `json:"peak_bytes"`       // of the process; 0 where the system does not say
	Idle            float64   `json:"idle_share"`       // part of the time in which the engine had no work
	Waiting         float64   `json:"data_share"`       // part of it in which it waited for batches
	Loss            float64   `json:"loss"`
}

// training holds the flags of bench train.
type training struct {
	*benched
	kind, dtype               string
	quant                     quantisation
	attention, stablehlo      string
	experts                   []int
	rank, rows, length, steps int
	vocabulary, layers        int
	devices                   int
	divided                   bool
	dropout, balance          float64
	rematerialise, apart      bool
}

func benchTrainCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "train [--shape NAME | --model DIR [--random-weights]]",
		Short: "time and memory of a training step",
		Long: `bench train runs optimiser steps on random tokens by the code that train runs, on a random
model or on the one in a directory, and tells the median step beside its floor: the arithmetic
of its matrix products at the rate of one large product, measured in the same run. The first
step, in which the graphs are compiled, is told apart. Where fewer expert counts than layers
are given, the last one is repeated.`,
		Args:    cobra.NoArgs,
		Example: "  alphalora bench train --shape small --experts 3,4,4,5,5,6,6,7 --json train.json",
	}
	t := &training{benched: addBenched(cmd, "small")}
	jsonPath := addJSON(cmd)
	f := cmd.Flags()
	f.StringVar(&t.kind, "kind", "moe-lora", "kind of adapter: moe-lora, lora, rslora, dora, lora-plus, loramoe or mixlora")
	f.StringVar(&t.dtype, "dtype", "float32", "number format of the base: float32 or bfloat16, or file (as the checkpoint of --model has it)")
	f.StringVar(&t.attention, "attention", configs.PlainAttention, "plain, or flash: cuDNN's kernel, on xla:cuda in bfloat16")
	f.StringVar(&t.stablehlo, "stablehlo", "", "write the step's program as for xla:cuda into `FILE`, and run nothing; needs no GPU")
	addQuantisation(f, &t.quant)
	f.IntSliceVar(&t.experts, "experts", nil, "experts of each layer (default: "+list(benchExperts)+", for as many layers as there are)")
	f.IntVar(&t.rank, "r", 8, "rank of an expert")
	f.IntVar(&t.rows, "rows", 8, "rows of a step")
	f.IntVar(&t.length, "length", 128, "tokens of a row")
	f.IntVar(&t.vocabulary, "vocabulary", 0, "size of the vocabulary; 0: the shape's")
	f.IntVar(&t.layers, "layers", 0, "layers; 0: the shape's")
	f.IntVar(&t.steps, "steps", 10, "counted steps")
	f.IntVar(&t.devices, "devices", 1, "devices that the rows are divided over, with --stablehlo alone")
	f.BoolVar(&t.divided, "shard-base", false, "divide the base's weights over them")
	f.Float64Var(&t.dropout, "dropout", 0.05, "dropout of the experts' input")
	f.BoolVar(&t.apart, "mask-per-expert", false, "draw a dropout mask for each expert, not for each input")
	f.Float64Var(&t.balance, "balance", 0, "coefficient of the balance loss")
	f.BoolVar(&t.rematerialise, "gradient-checkpointing", false, "compute each layer again in the backward pass")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if t.stablehlo != "" {
			return a.emitStep(t)
		}
		result, err := a.benchTrain(cmd.Context(), t)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(a.text(*jsonPath), `%s, %s, %s, model_quant %s: %d rows of %d tokens, experts %s, r %d, %d trainable parameters
step              %.3f s, %.0f tokens/s (the first %.1f s, compiling)
engine idle       %.2f %% of the time, %.2f %% waiting for data
floor             %.3f s: %.0f GFLOP at the %.0f GFLOP/s of one large product; %.0f %% of it reached
peak memory       %.2f GB
`, result.Shape, result.Kind, result.DType, result.ModelQuant, result.Rows, result.Length, list(result.Experts), result.Rank, result.Trainable,
			result.Step, result.TokensPerSecond, result.First, 100*result.Idle, 100*result.Waiting, result.Floor, result.Flops/1e9, result.Rate/1e9, 100*result.OfFloor, float64(result.PeakBytes)/1e9)
		return a.writeJSON(*jsonPath, result)
	}
	return cmd
}

func list(counts []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(counts), " ", ","), "[]")
}

// benchExperts are the experts of each layer unless others are asked for.
var benchExperts = []int{3, 4, 4, 5, 5, 6, 6, 7}

// check holds the flags' rules and completes the counts.
func (t *training) check(d model.Description, kind moelora.Kind) error {
	err := errors.Join(inRange("rows", t.rows, 1, 1<<16), inRange("length", t.length, 2, 1<<20),
		inRange("steps", t.steps, 1, 1000), inRange("vocabulary", t.vocabulary, 0, 1<<20), inRange("r", t.rank, 1, d.Hidden))
	if len(t.experts) == 0 {
		t.experts = slices.Clone(benchExperts[:min(d.Layers, len(benchExperts))])
	}
	if len(t.experts) > d.Layers {
		return errors.Join(err, fault.Input("--experts "+list(t.experts), "give one to so many", "the shape has %d layers", d.Layers))
	}
	if kind.Single {
		t.experts = []int{1}
	}
	for len(t.experts) < d.Layers {
		t.experts = append(t.experts, t.experts[len(t.experts)-1])
	}
	return err
}

// described is the shape with what the flags change of it, and the kind of adapter.
func (t *training) described() (d model.Description, kind moelora.Kind, err error) {
	if _, d, err = t.describe(); err != nil {
		return d, kind, err
	}
	if err := errors.Join(t.wholeOnly("vocabulary", t.vocabulary), t.wholeOnly("layers", t.layers)); err != nil {
		return d, kind, err
	}
	if t.vocabulary > 0 {
		d.Vocabulary = t.vocabulary
	}
	if err := inRange("layers", t.layers, 0, d.Layers); err != nil {
		return d, kind, err
	}
	if t.layers > 0 {
		d.Layers, d.Windows = t.layers, d.Windows[:min(t.layers, len(d.Windows))]
		t.experts = t.experts[:min(t.layers, len(t.experts))]
	}
	if kind, err = moelora.KindNamed(t.kind); err != nil {
		return d, kind, err
	}
	return d, kind, t.check(d, kind)
}

func (a *app) benchTrain(ctx context.Context, t *training) (trainSpeed, error) {
	d, kind, err := t.described()
	if err = errors.Join(err, t.checkDevices()); err != nil {
		return trainSpeed{}, err
	}
	if err := t.checkAttentionOf(ctx, a, d); err != nil {
		return trainSpeed{}, err
	}
	m, err := t.open(ctx, a, d, t.dtype, t.quant)
	if err != nil {
		return trainSpeed{}, err
	}
	defer m.Free()
	if err := t.checkAttention(m); err != nil {
		return trainSpeed{}, err
	}
	shape := t.adapter(kind)
	adapter, err := moelora.New(m, shape, 2)
	if err != nil {
		return trainSpeed{}, err
	}
	r := trainSpeed{Engine: m.Engine.Name, Shape: t.name(), RandomWeights: t.drawn(), Kind: t.kind, DType: m.DType(), ModelQuant: m.Quant.String(), Experts: t.experts, Rank: t.rank, Attention: t.attention, Checkpointing: t.rematerialise,
		Rows: t.rows, Length: t.length, Trainable: moelora.Count(d, shape).Trainable, Flops: train.Flops(d, shape, t.rows, t.length)}
	if r.Rate, err = productRate(m, t.rows*t.length); err != nil {
		return r, err
	}
	if err := t.time(ctx, m, adapter, &r); err != nil {
		return r, err
	}
	r.Floor = r.Flops / r.Rate
	r.OfFloor, r.PeakBytes = r.Floor/r.Step, peakMemory()
	return r, nil
}

// options are what of a run the graph depends on.
func (t *training) options() train.Options {
	return train.Options{Optimizer: train.AdamW{Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8}, MaxGradNorm: 1, Dropout: t.dropout, MaskPerExpert: t.apart,
		Balance: t.balance, Rematerialise: t.rematerialise, Flash: t.attention == configs.FlashAttention, Seed: 5}
}

func (t *training) adapter(kind moelora.Kind) moelora.Shape {
	return moelora.Shape{Kind: kind, Rank: t.rank, Alpha: 2 * float64(t.rank), Experts: t.experts, TopK: kind.TopK(t.experts), Targets: model.Sites()}
}

// time trains on random tokens in a directory of its own.
func (t *training) time(ctx context.Context, m *model.Model, adapter *moelora.Adapter, r *trainSpeed) error {
	dir, err := os.MkdirTemp("", "alphalora-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	rng := rand.New(rand.NewPCG(3, 4))
	samples := make(data.List, t.rows)
	for i := range samples {
		for range t.length {
			samples[i].IDs = append(samples[i].IDs, rng.Int32N(int32(m.Vocabulary)))
		}
		samples[i].Labels = slices.Clone(samples[i].IDs)
	}
	batches, err := data.NewBatcher(samples, data.Plan{Batch: t.rows, Micro: t.rows})
	if err != nil {
		return err
	}
	var times train.Times
	const unseen = 2 // the first compiles, the second still warms up
	how := t.options()
	how.Output, how.Schedule = dir, train.Schedule{Kind: "constant", Peak: 3e-4, Total: t.steps + unseen}
	how.Trace = times.Add
	err = train.Run(ctx, m, adapter, batches, how)
	if err != nil {
		return err
	}
	metrics, err := train.ReadMetrics(dir)
	if err != nil {
		return err
	}
	for _, step := range metrics[unseen:] {
		r.Steps = append(r.Steps, step.Seconds)
	}
	slices.Sort(r.Steps)
	r.Idle, r.Waiting = times.Idle(), times.Share(train.SpanData)
	r.Step, r.First = r.Steps[len(r.Steps)/2], metrics[0].Seconds
	r.TokensPerSecond, r.Loss = float64(t.rows*t.length)/r.Step, metrics[len(metrics)-1].Loss
	return nil
}

// productRate is the arithmetic rate of one large product as a layer has it, in the
// base's number format: [rows, C]·[C, F].
func productRate(m *model.Model, rows int) (rate float64, err error) {
	in, out := m.SiteDims(model.Gate)
	dtype := m.Tensors[0].DType()
	err = engine.Try(func() {
		ones := MustNewExec(m.Engine.Backend, func(g *Graph) []*Node {
			return []*Node{Ones(g, shapes.Make(dtype, rows, in)), Ones(g, shapes.Make(dtype, in, out))}
		}).MustCall()
		product := MustNewExec(m.Engine.Backend, func(x, w *Node) []*Node {
			y := nn.Product(x, w)
			return []*Node{y, ConvertDType(Slice(y, AxisElem(0), AxisElem(0)), dtypes.Float32)}
		})
		var took time.Duration
		took, err = median(9, func() error {
			outs := product.MustCall(ones[0], ones[1])
			defer func() { _ = errors.Join(outs[0].FinalizeAll(), outs[1].FinalizeAll()) }()
			return tensors.ConstFlatData(outs[1], func([]float32) {}) // waits for the whole
		})
		rate = 2 * float64(rows) * float64(in) * float64(out) / took.Seconds()
	})
	return rate, err
}
