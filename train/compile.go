package train

import (
	"fmt"
	"time"

	"alphalora/internal/engine"

	"github.com/gomlx/compute/distributed"
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

// compile makes a program; it compiles nothing yet. On several devices the partitioner is
// told how each input lies there: layout as of [stepper.layout].
func (s *stepper) compile(name string, graph func(inputs []*Node) []*Node, layout ...int) (*program, error) {
	exec, err := NewExec(s.model.Engine.Backend, graph)
	if err != nil {
		return nil, err
	}
	exec.WithName(name).SetMaxCache(-1)
	if devices := s.model.Engine.Devices; devices.Count > 1 {
		mesh, err := devices.Mesh()
		if err != nil {
			return nil, err
		}
		specs := make([]*distributed.ShardingSpec, len(layout))
		for i, axis := range layout {
			specs[i] = engine.Spec(mesh, axis)
		}
		exec.AutoSharding(mesh).WithInputShardingSpecs(specs...).WithOutputShardingSpecs(engine.Spec(mesh, whole))
	}
	return &program{exec, name, map[string]bool{}, s.settings}, nil
}

// call runs the program on inputs whose shape is told as such: a list for each device, and
// the outputs, which are whole on each, likewise.
func (p *program) call(shape string, args [][]*tensors.Tensor) ([][]*tensors.Tensor, error) {
	return engine.Try1(func() [][]*tensors.Tensor {
		if !p.seen[shape] {
			p.prepare(shape, args)
		}
		var all []any
		for _, list := range args {
			for _, t := range list {
				all = append(all, t)
			}
		}
		flat := p.MustCall(all...)
		outs := make([][]*tensors.Tensor, len(args))
		for i := range outs {
			outs[i], flat = flat[:len(flat)/(len(args)-i)], flat[len(flat)/(len(args)-i):]
		}
		return outs
	})
}

// prepare compiles for a new shape.
func (p *program) prepare(shape string, args [][]*tensors.Tensor) {
	var dims []shapes.Shape
	for _, list := range args {
		for _, t := range list {
			dims = append(dims, t.Shape())
		}
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
