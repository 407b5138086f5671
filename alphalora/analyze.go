package alphalora

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"alphalora/internal/fault"
)

// Matrix is one weight matrix that can be read when its turn comes.
type Matrix struct {
	Name       string // the tensor's name
	Layer      int    // from 0
	Site       string // which projection of the layer, as q_proj
	Rows, Cols int    // out, in
	DType      string // of its numbers, as safetensors files name it: F64, F32, F16 or BF16
	// Bytes returns the Rows·Cols numbers, row-major and little-endian. It is called
	// once for each analysis; nothing changes what it returns.
	Bytes func() ([]byte, error)
	// Done, if not nil, is called when the bytes are no longer needed.
	Done func()
}

// Options says how to analyse.
type Options struct {
	Estimator Estimator
	Solver    Solver
	Precision Precision
	Cache     *Cache // nil: none
	// Workers is how many matrices are worked on at once; 0 means one for each CPU.
	// There are never more than that, nor more than fit in Memory (one always does).
	Workers int
	// Memory bounds the working memory in bytes, not counting the files' own pages; 0
	// means 2 GiB.
	Memory int64
	// Progress, if not nil, is called after each matrix, one call at a time.
	Progress func(Progress)
	// Phases, if not nil, gets the time of each phase added up over all workers.
	Phases *Phases
}

// Progress tells how far an analysis is.
type Progress struct {
	Done, Total int
	Name        string        // of the matrix that was finished
	Left        time.Duration // by the arithmetic left and the speed so far; 0 at the end, and before anything was solved
}

// Phases holds the time that workers spent, in seconds: two workers spend two a second.
type Phases struct {
	Read        float64 // getting the bytes
	Digest      float64 // SHA-256 of them
	Products    float64 // Gram matrices, and waiting for the engine that makes them
	Eigenvalues float64
	Fit         float64
	Cached      int // spectra that came from the cache

	mu sync.Mutex
}

func (p *Phases) add(to *float64, begun time.Time) {
	p.mu.Lock()
	*to += time.Since(begun).Seconds()
	p.mu.Unlock()
}

func (p *Phases) cached() {
	p.mu.Lock()
	p.Cached++
	p.mu.Unlock()
}

// Analyze measures every matrix, each read when its turn comes and dropped after it, the
// largest first, and returns the measurements in the order of matrices with the mean of
// each layer. It stops between matrices when ctx ends; what was solved is in the cache.
func Analyze(ctx context.Context, model string, matrices []Matrix, opts Options) (*Analysis, error) {
	if len(matrices) == 0 {
		return nil, fault.Input("model "+model, "", "there is no matrix to analyse")
	}
	if opts.Phases == nil {
		opts.Phases = &Phases{}
	}
	measured := make([]Measurement, len(matrices))
	digests := make([][]byte, len(matrices))
	workers := WorkerCount(matrices, opts)
	tell := newTeller(matrices, workers, opts.Progress)
	err := eachMatrix(ctx, matrices, workers, func(i int) (err error) {
		begun, solved := time.Now(), false
		if measured[i], digests[i], solved, err = measure(matrices[i], opts); err != nil {
			return fmt.Errorf("%s: %s: %w", model, matrices[i].Name, err)
		}
		tell(i, time.Since(begun), solved)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Analysis{
		Model: model, Estimator: opts.Estimator.Name, Precision: opts.Precision, Solver: opts.Solver.Name,
		Fingerprint: fingerprint(matrices, digests), Matrices: measured, Layers: layerMeans(measured),
	}, nil
}

// eachMatrix calls work with the index of every matrix, the largest first, in so many
// goroutines. It stops at the first error, and when ctx ends.
func eachMatrix(ctx context.Context, matrices []Matrix, workers int, work func(i int) error) error {
	order := make([]int, len(matrices))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(matrices[j].cost(), matrices[i].cost()) })
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan int)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := range next {
				if err := work(i); err != nil {
					stop(err)
					return
				}
			}
		})
	}
	feed(ctx, next, order)
	group.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// feed sends every index until ctx ends.
func feed(ctx context.Context, next chan<- int, order []int) {
	defer close(next)
	for _, i := range order {
		select {
		case next <- i:
		case <-ctx.Done():
			return
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// cost is the arithmetic of a matrix: half its Gram matrix, and its reduction.
func (m Matrix) cost() float64 {
	n, long := float64(min(m.Rows, m.Cols)), float64(max(m.Rows, m.Cols))
	return n * n * (long + 2*n)
}

// newTeller returns what is called when a worker has done matrix i, which took it so long.
// Those that came from the cache say nothing about the speed.
func newTeller(matrices []Matrix, workers int, progress func(Progress)) func(i int, took time.Duration, solved bool) {
	var mu sync.Mutex
	var left, worked float64
	var spent time.Duration
	done := 0
	for _, m := range matrices {
		left += m.cost()
	}
	return func(i int, took time.Duration, solved bool) {
		mu.Lock()
		defer mu.Unlock()
		done++
		left -= matrices[i].cost()
		if solved {
			worked += matrices[i].cost()
			spent += took
		}
		if progress == nil {
			return
		}
		p := Progress{Done: done, Total: len(matrices), Name: matrices[i].Name}
		if ahead := len(matrices) - done; ahead > 0 && worked > 0 {
			p.Left = time.Duration(float64(spent) * left / worked / float64(min(workers, ahead)))
		}
		progress(p)
	}
}

// WorkerCount is how many of matrices are worked on at once: see [Options].
func WorkerCount(matrices []Matrix, opts Options) int {
	memory := opts.Memory
	if memory == 0 {
		memory = 2 << 30
	}
	var largest int64 = 1
	for _, m := range matrices {
		// single precision may turn out not to be enough
		largest = max(largest, opts.Solver.bytes(m.Rows, m.Cols, Double))
	}
	count := runtime.GOMAXPROCS(0)
	if opts.Workers > 0 {
		count = min(count, opts.Workers)
	}
	return max(1, min(count, len(matrices), int(memory/largest)))
}

// measure reads one matrix and measures it, and returns its digest and whether it had to be
// solved.
func measure(m Matrix, opts Options) (Measurement, []byte, bool, error) {
	begun := time.Now()
	data, err := m.Bytes()
	if err != nil {
		return Measurement{}, nil, false, err
	}
	if m.Done != nil {
		defer m.Done()
	}
	opts.Phases.add(&opts.Phases.Read, begun)
	w, err := view(data, m.DType, m.Rows, m.Cols)
	if err != nil {
		return Measurement{}, nil, false, err
	}
	begun = time.Now()
	s := solving{w: w, id: digest(m, data), opts: opts}
	opts.Phases.add(&opts.Phases.Digest, begun)
	out, err := s.measure()
	out.Name, out.Layer, out.Site, out.Rows, out.Cols = m.Name, m.Layer, m.Site, m.Rows, m.Cols
	return out, s.id, s.solved, err
}
