package generate

import (
	"slices"

	"alphalora/internal/engine"
	"alphalora/model"
)

// Shapes are the shapes for which a graph has been compiled. To compile a new one takes
// as long as many short batches do, so a batch is padded to one that is there until the
// tokens wasted in this way would have paid for compiling: whatever batches follow, both
// together are at most twice what it takes when all are known beforehand (renting or
// buying skis: Karlin, Manasse, Rudolph and Sleator, 1988).
type Shapes struct {
	price  float64 // tokens that are read in the time of compiling
	known  [][]int
	wasted float64 // tokens, since the last was compiled
}

// layerWork is the floating point operations for which xla:cpu takes as long as for
// compiling one decoder layer, 0.1 s of a core at 100 GFLOP/s. Not measured on a GPU.
const layerWork = 1e10

// NewShapes knows no shape yet. A token is two operations a parameter.
func NewShapes(m *model.Model) *Shapes {
	if m.Engine.Name == engine.Go { // it has next to nothing to compile
		return &Shapes{}
	}
	return &Shapes{price: layerWork * float64(m.Layers) / (2 * float64(m.Count()))}
}

// Fit returns the shape to pad to: the wanted one or, for as long as that is cheaper, one
// that is known and at least as large on every axis. tokens counts those of a shape.
func (s *Shapes) Fit(wanted []int, tokens func(shape []int) int) []int {
	var best []int
	for _, k := range s.known {
		if holds(k, wanted) && (best == nil || tokens(k) < tokens(best)) {
			best = k
		}
	}
	if best != nil {
		if waste := s.wasted + float64(tokens(best)-tokens(wanted)); waste <= s.price || slices.Equal(best, wanted) {
			s.wasted = waste
			return best
		}
	}
	s.known, s.wasted = append(s.known, wanted), 0
	return wanted
}

func holds(shape, wanted []int) bool {
	for axis, n := range wanted {
		if shape[axis] < n {
			return false
		}
	}
	return true
}

// shape is the shape of the next batch for the graph of a name: rows, length and, for
// prefill, the slots behind it.
func (g *Generator) shape(name string, wanted ...int) []int {
	g.Lock()
	defer g.Unlock()
	if g.shapes[name] == nil {
		g.shapes[name] = &Shapes{price: g.price}
	}
	return g.shapes[name].Fit(wanted, func(shape []int) int { return shape[0] * shape[1] })
}
