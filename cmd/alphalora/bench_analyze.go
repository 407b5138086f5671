package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"alphalora/alphalora"
	"alphalora/alphalora/symeig"
	"alphalora/internal/fault"
	"alphalora/model"
)

// spectralBench is what bench analyze measured. Times are in seconds.
type spectralBench struct {
	Shape       string  `json:"shape"`          // or the model's directory
	Random      bool    `json:"random_weights"` // not the directory's own
	Layers      int     `json:"layers"`
	Matrices    int     `json:"matrices"`
	Solver      string  `json:"solver"`
	Precision   string  `json:"precision"`
	Workers     int     `json:"workers"`
	Seconds     float64 `json:"seconds"`             // from first to last, the making of the matrices included
	WholeModel  float64 `json:"whole_model_seconds"` // Seconds for all of the model's layers, in proportion
	PeakBytes   int64   `json:"peak_memory_bytes"`   // of the process
	Double      int     `json:"matrices_in_f64"`     // for which single precision was not enough
	GFLOPS      float64 `json:"gflops"`              // products and eigenvalues: operations over the workers' time in them, times workers
	Ceiling     float64 `json:"ceiling_gflops"`      // of products that stay in the cache, on all cores
	MakeSeconds float64 `json:"make_worker_seconds"` // this and the rest add up over the workers
	Digest      float64 `json:"digest_worker_seconds"`
	Products    float64 `json:"products_worker_seconds"`
	Eigenvalues float64 `json:"eigenvalues_worker_seconds"`
	Fit         float64 `json:"fit_worker_seconds"`
}

func benchAnalyzeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "analyze [--shape NAME | --model DIR [--random-weights]]",
		Short: "time the analysis of a model's spectra",
		Long: "analyze times the analysis of a model of a given shape, or of the one in a directory. Random\n" +
			"weights are bfloat16 with heavy tails, made matrix by matrix. The cache is not used.",
		Args:    cobra.NoArgs,
		Example: "  alphalora bench analyze --shape mistral-7b --layers 1 --json bench.json",
	}
	how := addSpectral(cmd)
	jsonPath := addJSON(cmd)
	b := addBenched(cmd, "mistral-7b")
	layers := cmd.Flags().Int("layers", 0, "how many layers; 0 is all, of which a few are enough for a figure")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		_, d, err := b.describe()
		if err != nil {
			return err
		}
		if *layers < 0 || *layers > d.Layers {
			return fault.Input(fmt.Sprintf("--layers %d", *layers), "", "must be from 1 to %d, or 0 for all", d.Layers)
		}
		if *layers == 0 {
			*layers = d.Layers
		}
		how.cache = "none"
		result, err := a.benchAnalyze(cmd.Context(), b, d, *layers, *how)
		if err != nil {
			return err
		}
		if err := printSpectralBench(a.text(*jsonPath), result); err != nil {
			return err
		}
		return a.writeJSON(*jsonPath, result)
	}
	return cmd
}

func (a *app) benchAnalyze(ctx context.Context, of *benched, d model.Description, layers int, how spectral) (spectralBench, error) {
	opts, err := a.spectralOptions(ctx, how)
	if err != nil {
		return spectralBench{}, err
	}
	opts.Phases = &alphalora.Phases{}
	matrices, done, err := of.matrices(d, layers)
	if err != nil {
		return spectralBench{}, err
	}
	defer done()
	ceiling := productCeiling()
	begun := time.Now()
	analysis, err := a.measure(ctx, of.name(), matrices, opts)
	if err != nil {
		return spectralBench{}, err
	}
	p := opts.Phases
	b := spectralBench{
		Shape: of.name(), Random: of.drawn(), Layers: layers, Matrices: len(matrices), Solver: opts.Solver.Name, Precision: string(opts.Precision),
		Workers: alphalora.WorkerCount(matrices, opts), Seconds: time.Since(begun).Seconds(), PeakBytes: peakMemory(), Ceiling: ceiling,
		MakeSeconds: p.Read, Digest: p.Digest, Products: p.Products, Eigenvalues: p.Eigenvalues, Fit: p.Fit,
	}
	b.WholeModel = b.Seconds * float64(d.Layers) / float64(layers)
	operations := 0.0
	for i, m := range matrices {
		n, long := float64(min(m.Rows, m.Cols)), float64(max(m.Rows, m.Cols))
		operations += n*n*long + 4./3*n*n*n
		if analysis.Matrices[i].Precision == alphalora.Double {
			b.Double++
		}
	}
	b.GFLOPS = operations / (p.Products + p.Eigenvalues) * float64(b.Workers) / 1e9
	return b, nil
}

// randomProjections lists the projections of so many layers, each made when it is read.
func randomProjections(d model.Description, layers int) []alphalora.Matrix {
	var list []alphalora.Matrix
	for layer := range layers {
		for _, site := range model.Sites() {
			cols, rows := d.SiteDims(site)
			seed := uint64(len(list))
			list = append(list, alphalora.Matrix{Name: site.WeightName(layer), Layer: layer, Site: site.String(), Rows: rows, Cols: cols, DType: "BF16",
				Bytes: func() ([]byte, error) { return heavyTailed(rows, cols, seed), nil }})
		}
	}
	return list
}

// normals is a table of normal numbers: drawing from it is faster than drawing anew.
var normals = sync.OnceValue(func() []float32 {
	rng := rand.New(rand.NewPCG(1, 1))
	table := make([]float32, 1<<16)
	for i := range table {
		table[i] = float32(rng.NormFloat64() * 0.02)
	}
	return table
})

// heavyTailed is a random matrix in bfloat16 whose rows have scales with a heavy tail, and
// therefore its spectrum too.
func heavyTailed(rows, cols int, seed uint64) []byte {
	rng, table := rand.NewPCG(seed, 2), normals()
	data := make([]byte, 0, 2*rows*cols)
	for range rows {
		u := float64(rng.Uint64()>>11)/(1<<53) + 0.005
		scale := float32(math.Pow(u, -0.4))
		var bits uint64
		for j := range cols {
			if j%4 == 0 {
				bits = rng.Uint64()
			}
			data = binary.LittleEndian.AppendUint16(data, uint16(math.Float32bits(scale*table[bits&0xffff])>>16))
			bits >>= 16
		}
	}
	return data
}

// productCeiling is the speed of Gram matrices of a size that stays in the cache, one for
// each core, in GFLOP/s.
func productCeiling() float64 {
	const rows, cols, times = 4096, 384, 8
	m := symeig.Matrix{Data: heavyTailed(rows, cols, 0), Format: symeig.BF16, Rows: rows, Cols: cols}
	var group sync.WaitGroup
	begun := time.Now()
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for range times {
				_, _ = symeig.Gram[float32](m, 1) // only its time counts
			}
		})
	}
	group.Wait()
	return float64(runtime.GOMAXPROCS(0)*times) * rows * cols * cols / time.Since(begun).Seconds() / 1e9
}

// peakMemory is the most that the process has had in memory, in bytes; 0 where the system does
// not say.
func peakMemory() int64 {
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return usage.Maxrss
	}
	return usage.Maxrss * 1024
}

func printSpectralBench(w io.Writer, b spectralBench) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range [][2]string{
		{"shape", fmt.Sprintf("%s, %d layers, %d matrices", b.Shape, b.Layers, b.Matrices)},
		{"solver", fmt.Sprintf("%s, %s, %d workers, %d matrices in f64", b.Solver, b.Precision, b.Workers, b.Double)},
		{"seconds", fmt.Sprintf("%.1f; %.0f for the whole model, in proportion", b.Seconds, b.WholeModel)},
		{"workers' seconds", fmt.Sprintf("make %.1f, digest %.1f, products %.1f, eigenvalues %.1f, fit %.1f", b.MakeSeconds, b.Digest, b.Products, b.Eigenvalues, b.Fit)},
		{"speed", fmt.Sprintf("%.0f GFLOP/s; products in the cache %.0f", b.GFLOPS, b.Ceiling)},
		{"peak memory", fmt.Sprintf("%.2f GB", float64(b.PeakBytes)/1e9)},
	} {
		_, _ = fmt.Fprintf(table, "%s\t%s\n", line[0], line[1])
	}
	return table.Flush()
}
