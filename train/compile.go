package train

import (
	"fmt"
	"time"

	"alphalora/internal/engine"

	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
)

// program is a graph that is compiled once for each shape of its inputs, and says so.
type program struct {
	*Exec
	name string
	seen map[string]bool // shapes, as their batch's are told
	settings
}

// compile makes a program; it compiles nothing yet.
func (s *stepper) compile(name string, graph func(inputs []*Node) []*Node) (*program, error) {
	exec, err := NewExec(s.model.Engine.Backend, graph)
	if err != nil {
		return nil, err
	}
	exec.WithName(name).SetMaxCache(-1)
	return &program{exec, name, map[string]bool{}, s.settings}, nil
}

// call runs the program on inputs whose shape is told as such.
func (p *program) call(shape string, args []*tensors.Tensor) ([]*tensors.Tensor, error) {
	return engine.Try1(func() []*tensors.Tensor {
		if !p.seen[shape] {
			p.prepare(shape, args)
		}
		all := make([]any, len(args))
		for i, t := range args {
			all[i] = t
		}
		return p.MustCall(all...)
	})
}

// prepare compiles for a new shape.
func (p *program) prepare(shape string, args []*tensors.Tensor) {
	dims := make([]shapes.Shape, len(args))
	for i, t := range args {
		dims[i] = t.Shape()
	}
	begun := time.Now()
	defer p.timed(SpanCompile, 0)()
	if _, err := p.Compile(dims...); err != nil {
		panic(err)
	}
	p.seen[shape] = true
	if p.log != nil {
		p.log(fmt.Sprintf("compiled %s for %s in %.1f s, its number %d", p.name, shape, time.Since(begun).Seconds(), len(p.seen)))
	}
}
