package alphalora

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"alphalora/internal/fault"
)

// Matrix is one weight matrix that can be read when its turn comes.
type Matrix struct {
	Name       string // the tensor's name
	Layer      int    // from 0
	Site       string // which projection of the layer, as q_proj
	Rows, Cols int    // out, in
	// Values returns the Rows·Cols weights, row-major. It is called once, and
	// nothing keeps or changes what it returns.
	Values func() ([]float32, error)
}

// Options says how to analyse.
type Options struct {
	Estimator Estimator
	Solver    Solver
	// Workers is how many matrices are worked on at once; 0 means one for each CPU.
	// There are never more than that, nor more than fit in Memory (one always does).
	Workers int
	// Memory bounds the working memory in bytes; 0 means 2 GiB.
	Memory int64
	// Progress, if not nil, is called after each matrix, one call at a time.
	Progress func(done, total int, name string)
}

// Analyze measures every matrix, each read when its turn comes and dropped after it,
// and returns the measurements in the order of matrices with the mean of each layer.
// It stops between matrices when ctx ends. Memory and Progress: see [Options].
func Analyze(ctx context.Context, model string, matrices []Matrix, opts Options) (*Analysis, error) {
	if len(matrices) == 0 {
		return nil, fault.Input("model "+model, "", "there is no matrix to analyse")
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	measured := make([]Measurement, len(matrices))
	next := make(chan int)
	var (
		workers sync.WaitGroup
		mu      sync.Mutex
		done    int
	)
	for range workerCount(matrices, opts) {
		workers.Go(func() {
			for i := range next {
				m, err := Measure(matrices[i], opts.Estimator, opts.Solver)
				if err != nil {
					stop(err)
					return
				}
				mu.Lock()
				measured[i] = m
				done++
				if opts.Progress != nil {
					opts.Progress(done, len(matrices), m.Name)
				}
				mu.Unlock()
			}
		})
	}
	feed(ctx, next, len(matrices))
	workers.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return &Analysis{Model: model, Estimator: opts.Estimator.Name, Matrices: measured, Layers: layerMeans(measured)}, nil
}

// feed sends 0 ... n-1 until ctx ends.
func feed(ctx context.Context, next chan<- int, n int) {
	defer close(next)
	for i := range n {
		select {
		case next <- i:
		case <-ctx.Done():
			return
		}
	}
}

func workerCount(matrices []Matrix, opts Options) int {
	memory := opts.Memory
	if memory == 0 {
		memory = 2 << 30
	}
	var largest int64 = 1
	for _, m := range matrices {
		// W and its scaled copy; the Gram matrix, once more inside the solver, and
		// the narrow one that a product in single precision starts from.
		n := int64(min(m.Rows, m.Cols))
		largest = max(largest, 8*int64(m.Rows)*int64(m.Cols)+20*n*n)
	}
	count := runtime.GOMAXPROCS(0)
	if opts.Workers > 0 {
		count = min(count, opts.Workers)
	}
	return max(1, min(count, len(matrices), int(memory/largest)))
}

// Measure reads one matrix and measures it.
func Measure(m Matrix, estimator Estimator, solver Solver) (Measurement, error) {
	w, err := m.Values()
	if err != nil {
		return Measurement{}, err
	}
	s, err := Eigenvalues(w, m.Rows, m.Cols, solver)
	if err != nil {
		return Measurement{}, fmt.Errorf("%s: %w", m.Name, err)
	}
	out := Measurement{
		Name: m.Name, Layer: m.Layer, Site: m.Site, Rows: m.Rows, Cols: m.Cols,
		KSDistance: None(), XMin: None(), Metrics: map[string]Value{},
	}
	var tail *Fit
	fit, err := estimator.Fit(s)
	switch {
	case err != nil:
		out.Warning = fmt.Sprintf("no alpha, left out of the layer's mean: %v", err)
	default:
		tail = &fit
		out.KSDistance, out.XMin = Value(fit.Distance), Value(fit.XMin)
		if s.Rank < len(s.Lambda) {
			out.Warning = fmt.Sprintf("rank %d of %d; the tail lies within it", s.Rank, len(s.Lambda))
		}
	}
	for _, metric := range Metrics() {
		out.Metrics[metric.Name] = metric.of(s, tail)
	}
	return out, nil
}
