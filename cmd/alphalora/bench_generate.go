package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"alphalora/internal/engine"
	"alphalora/model"
	"alphalora/model/generate"
)

// generateSpeed is the JSON of bench generate.
type generateSpeed struct {
	Engine    string         `json:"engine"`
	Model     string         `json:"model"`          // or the shape's name
	Random    bool           `json:"random_weights"` // not the model's own
	DType     string         `json:"dtype"`
	Threads   int            `json:"threads"`
	Bandwidth float64        `json:"memory_bytes_per_second"` // read rate of all cores, measured here
	Prefill   []prefillSpeed `json:"prefill"`
	Decode    []decodeSpeed  `json:"decode"`
}

type prefillSpeed struct {
	Batch           int     `json:"batch"`
	Prompt          int     `json:"prompt"`
	TokensPerSecond float64 `json:"tokens_per_second"`
}

type decodeSpeed struct {
	Batch           int     `json:"batch"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	StepSeconds     float64 `json:"step_seconds"`
	FloorBytes      int     `json:"floor_bytes"`   // weights and filled cache that a step must read
	FloorSeconds    float64 `json:"floor_seconds"` // at the rate above
	OfFloor         float64 `json:"of_floor"`      // floor / step
}

// generating holds the flags of bench generate.
type generating struct {
	*benched
	dtype             string
	quant             quantisation
	stablehlo         string
	batches           []int
	prompt, new, runs int
}

func benchGenerateCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "generate [--shape NAME | --model DIR [--random-weights]]",
		Short: "tokens per second of reading prompts and of decoding",
		Long: `bench generate times greedy decoding of random prompts, beside the floor that the
memory sets: a step must read every weight and the filled cache once.`,
		Args:    cobra.NoArgs,
		Example: "  alphalora bench generate --shape small --batch 1,8 --json -",
	}
	g := &generating{benched: addBenched(cmd, "small")}
	jsonPath := addJSON(cmd)
	f := cmd.Flags()
	f.StringVar(&g.dtype, "dtype", "float32", "number format of the weights: float32, bfloat16, float16, or file (as the checkpoint has it)")
	addQuantisation(f, &g.quant)
	f.IntSliceVar(&g.batches, "batch", []int{1, 8}, "rows that decode together, one measurement each")
	f.IntVar(&g.prompt, "prompt", 128, "tokens of a prompt")
	f.IntVar(&g.new, "new", 128, "tokens decoded after it")
	f.IntVar(&g.runs, "runs", 3, "counted runs; the median is told")
	f.StringVar(&g.stablehlo, "stablehlo", "", "write the program of decoding with the first batch as for xla:cuda into `FILE`, and run nothing; needs no GPU")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if g.stablehlo != "" {
			return a.emitDecoding(g)
		}
		result, err := a.benchGenerate(cmd.Context(), g)
		if err != nil {
			return err
		}
		w := a.text(*jsonPath)
		_, _ = fmt.Fprintf(w, "memory reads at %.1f GB/s on %d threads\n", result.Bandwidth/1e9, result.Threads)
		for i, d := range result.Decode {
			p := result.Prefill[i]
			_, _ = fmt.Fprintf(w, "batch %d: prefill %.0f tokens/s; decode %.1f tokens/s, %.2f ms a step, floor %.2f ms (%.0f %% of it reached)\n",
				p.Batch, p.TokensPerSecond, d.TokensPerSecond, 1e3*d.StepSeconds, 1e3*d.FloorSeconds, 100*d.OfFloor)
		}
		return a.writeJSON(*jsonPath, result)
	}
	return cmd
}

func (g *generating) check() error {
	err := errors.Join(inRange("prompt", g.prompt, 1, 1<<20), inRange("new", g.new, 2, 1<<20), inRange("runs", g.runs, 1, 1000))
	for _, b := range g.batches {
		err = errors.Join(err, inRange("batch", b, 1, 1<<16))
	}
	return err
}

func (a *app) benchGenerate(ctx context.Context, g *generating) (generateSpeed, error) {
	if err := g.check(); err != nil {
		return generateSpeed{}, err
	}
	_, shape, err := g.describe()
	if err != nil {
		return generateSpeed{}, err
	}
	m, err := g.open(ctx, a, shape, g.dtype, g.quant)
	if err != nil {
		return generateSpeed{}, err
	}
	defer m.Free()
	result := generateSpeed{Engine: m.Engine.Name, Model: g.name(), Random: g.drawn(), DType: m.DType(), Threads: runtime.NumCPU(), Bandwidth: readRate()}
	if m.Engine.Name == engine.CUDA { // the cores' rate says nothing of a GPU's memory
		if result.Bandwidth, err = deviceReadRate(m.Engine, 1<<30); err != nil {
			return generateSpeed{}, err
		}
	}
	for _, rows := range g.batches {
		p, d, err := g.time(ctx, m, rows)
		if err != nil {
			return result, err
		}
		d.FloorSeconds = float64(d.FloorBytes) / result.Bandwidth
		d.OfFloor = d.FloorSeconds / d.StepSeconds
		result.Prefill, result.Decode = append(result.Prefill, p), append(result.Decode, d)
	}
	return result, nil
}

// time measures one batch size: a run to one token is the prefill, what a longer run
// takes beyond it is decoding.
func (g *generating) time(ctx context.Context, m *model.Model, rows int) (p prefillSpeed, d decodeSpeed, err error) {
	generator, err := generate.New(m, nil, rows)
	if err != nil {
		return p, d, err
	}
	defer generator.Close()
	rng := rand.New(rand.NewPCG(uint64(rows), 0xbe9c))
	prompts := make([][]int32, rows)
	for i := range prompts {
		for range g.prompt {
			prompts[i] = append(prompts[i], rng.Int32N(int32(m.Vocabulary)))
		}
	}
	run := func(limit int) (time.Duration, error) {
		return median(g.runs, func() error {
			_, err := generator.Greedy(ctx, prompts, limit, nil, nil)
			return err
		})
	}
	first, err := run(1)
	if err != nil {
		return p, d, err
	}
	whole, err := run(g.new)
	if err != nil {
		return p, d, err
	}
	p = prefillSpeed{Batch: rows, Prompt: g.prompt, TokensPerSecond: float64(rows*g.prompt) / first.Seconds()}
	step := (whole - first).Seconds() / float64(g.new-1)
	d = decodeSpeed{Batch: rows, TokensPerSecond: float64(rows) / step, StepSeconds: step}
	d.FloorBytes = stepBytes(m, rows, g.prompt+g.new/2)
	return p, d, nil
}

// stepBytes counts what a decode step has to read: every weight as it is stored, but the rows of
// the embedding that it does not look up, and the filled part of the cache.
func stepBytes(m *model.Model, rows, positions int) int {
	size := m.Tensors[0].DType().Size() // of the embedding, and of what is computed
	bytes := 2 * rows * positions * m.Layers * m.KVHeads * m.HeadDim * size
	for _, s := range m.Shapes() {
		bytes += int(s.ByteSize())
	}
	if !m.Tied {
		bytes -= m.Vocabulary * m.Hidden * size
	}
	return bytes
}

// deviceReadRate is how many bytes a second the device reads from its memory: the median of
// maxima over so many bytes.
func deviceReadRate(eng *engine.Engine, bytes int) (rate float64, err error) {
	err = engine.Try(func() {
		shape := shapes.Make(dtypes.Float32, bytes/4/1024, 1024)
		data := MustNewExec(eng.Backend, func(g *Graph) *Node { return Ones(g, shape) }).MustCall()[0]
		defer func() { _ = data.FinalizeAll() }()
		sum := MustNewExec(eng.Backend, func(x *Node) *Node { return ReduceAllMax(x) })
		var took time.Duration
		took, err = median(9, func() error {
			return tensors.ConstFlatData(sum.MustCall(data)[0], func([]float32) {}) // waits for the whole
		})
		rate = float64(shape.ByteSize()) / took.Seconds()
	})
	return rate, err
}

// readRate is how many bytes a second all cores together read from memory: the best of
// a few sweeps over more than the caches hold.
func readRate() float64 {
	const words = 1 << 25 // 256 MiB
	data := make([]uint64, words)
	for i := range data {
		data[i] = uint64(i)
	}
	workers := runtime.NumCPU()
	best := time.Hour
	for range 8 {
		sums := make(chan uint64, workers)
		start := time.Now()
		for w := range workers {
			part := data[words*w/workers : words*(w+1)/workers]
			go func() {
				var s [4]uint64
				for ; len(part) >= 4; part = part[4:] {
					s[0], s[1], s[2], s[3] = s[0]+part[0], s[1]+part[1], s[2]+part[2], s[3]+part[3]
				}
				sums <- s[0] + s[1] + s[2] + s[3]
			}()
		}
		for range workers {
			<-sums
		}
		best = min(best, time.Since(start))
	}
	return 8 * words / best.Seconds()
}
