package alphalora

import (
	"fmt"
	"sync"
	"time"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"alphalora/alphalora/symeig"
	"alphalora/internal/engine"
)

// The Gram matrix on an engine is made in strips of rows, each only as long as the lower
// triangle needs, and of terms that are summed before they are added to the rest.
const (
	engineStrips = 4
	engineTerms  = 4096
)

// onEngine computes Gram matrices on an engine, one after the other; the reductions of
// other matrices go on meanwhile on the cores.
type onEngine struct {
	engine *engine.Engine
	cores  Solver
	mu     sync.Mutex
	exec   *graph.Exec
}

// OnEngine is [TwoStage] with the products on e, where they come out as exact there as
// on the cores: in single precision and, on a GPU, which rounds factors to 11 bits, of
// numbers that have no more (BF16 and F16). Other products are made on the cores.
func OnEngine(e *engine.Engine) (Solver, error) {
	s := &onEngine{engine: e, cores: TwoStage()}
	exec, err := graph.NewExec(e.Backend, gramGraph)
	if err != nil {
		return Solver{}, fmt.Errorf("%s: Gram matrices: %w", e.Name, err)
	}
	s.exec = exec.SetMaxCache(-1)
	return Solver{Name: s.cores.Name + ", products on " + e.Name, bytes: s.cores.bytes, solve: s.solve}, nil
}

func (s *onEngine) solve(m symeig.Matrix, scale float64, p Precision, phases *Phases) ([]float64, error) {
	wide := m.Format == symeig.F64 || m.Format == symeig.F32
	if p == Double || m.Format == symeig.F64 || wide && s.engine.Name != engine.CPU || s.engine.Name == engine.Go {
		return s.cores.solve(m, scale, p, phases)
	}
	begun := time.Now()
	gram, err := s.gram(m, scale)
	if err != nil {
		return nil, fmt.Errorf("%s: Gram matrix of %d×%d: %w", s.engine.Name, m.Rows, m.Cols, err)
	}
	phases.add(&phases.Products, begun)
	return timedEigenvalues(gram, phases)
}

// gram computes the strips and puts them together.
func (s *onEngine) gram(m symeig.Matrix, scale float64) (symeig.Symmetric[float32], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dtype := map[symeig.Format]dtypes.DType{symeig.F32: dtypes.Float32, symeig.F16: dtypes.Float16, symeig.BF16: dtypes.BFloat16}[m.Format]
	whole := symeig.NewSymmetric[float32](m.Side())
	w, err := tensors.FromRaw(nil, 0, shapes.Make(dtype, m.Rows, m.Cols), m.Data)
	if err != nil {
		return whole, err
	}
	strips, err := engine.Try1(func() []*tensors.Tensor { return s.exec.MustCall(w, float32(scale)) })
	if err != nil {
		return whole, err
	}
	row := 0
	for _, strip := range strips {
		height, width := strip.Shape().Dim(0), strip.Shape().Dim(1)
		err := engine.Broken(tensors.ConstFlatData(strip, func(flat []float32) {
			for i := range height {
				copy(whole.Data[(row+i)*whole.Stride:], flat[i*width:(i+1)*width])
			}
		}))
		if err != nil {
			return whole, err
		}
		row += height
		if err := strip.FinalizeAll(); err != nil {
			return whole, err
		}
	}
	return whole, w.FinalizeAll()
}

// gramGraph takes w [rows, cols] and the scale, and returns the strips of the lower triangle
// of the Gram matrix of its smaller side n: rows from ≤ i < to, each [to-from, to], in f32.
func gramGraph(inputs []*graph.Node) []*graph.Node {
	w, scale := inputs[0], inputs[1]
	kept, summed := 1, 0
	if w.Shape().Dim(0) < w.Shape().Dim(1) {
		kept, summed = 0, 1
	}
	n, terms := w.Shape().Dim(kept), w.Shape().Dim(summed)
	w = graph.Mul(graph.ConvertDType(w, dtypes.Float32), scale)
	var strips []*graph.Node
	for s := range engineStrips {
		from, to := s*n/engineStrips, (s+1)*n/engineStrips
		if from == to {
			continue
		}
		var sum *graph.Node
		for k := 0; k < terms; k += engineTerms {
			part := graph.SliceAxis(w, summed, graph.AxisRange(k, min(k+engineTerms, terms)))
			left, right := graph.SliceAxis(part, kept, graph.AxisRange(from, to)), graph.SliceAxis(part, kept, graph.AxisRange(0, to))
			product := graph.DotGeneral(left, []int{summed}, nil, right, []int{summed}, nil)
			if sum == nil {
				sum = product
			} else {
				sum = graph.Add(sum, product)
			}
		}
		strips = append(strips, sum)
	}
	return strips
}
