package model

import (
	"fmt"

	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
)

// Params is an ordered list of named tensors: the leaves that a graph is fed with.
// Freezing, saving and counting follow such lists, never a substring of a name.
type Params struct {
	Names   []string
	Tensors []*tensors.Tensor
}

// Add appends a tensor.
func (p *Params) Add(name string, t *tensors.Tensor) {
	p.Names = append(p.Names, name)
	p.Tensors = append(p.Tensors, t)
}

// Len is the number of tensors.
func (p *Params) Len() int { return len(p.Names) }

// Count is the number of values in all tensors.
func (p *Params) Count() int {
	n := 0
	for _, t := range p.Tensors {
		n += t.Size()
	}
	return n
}

// Shapes lists the tensors' shapes.
func (p *Params) Shapes() []shapes.Shape {
	s := make([]shapes.Shape, p.Len())
	for i, t := range p.Tensors {
		s[i] = t.Shape()
	}
	return s
}

// Nodes names the first Len nodes of inputs and returns the rest.
func (p *Params) Nodes(inputs []*Node) (named map[string]*Node, rest []*Node) {
	named = make(map[string]*Node, p.Len())
	for i, name := range p.Names {
		named[name] = inputs[i]
	}
	return named, inputs[p.Len():]
}

// Replace puts new tensors, such as a step's outputs, in the place of the old ones and
// frees those.
func (p *Params) Replace(with []*tensors.Tensor) error {
	if len(with) != p.Len() {
		return fmt.Errorf("params: %d tensors for %d names", len(with), p.Len())
	}
	for i, t := range with {
		if err := p.Tensors[i].FinalizeAll(); err != nil {
			return err
		}
		p.Tensors[i] = t
	}
	return nil
}

// Free releases the tensors.
func (p *Params) Free() {
	for _, t := range p.Tensors {
		_ = t.FinalizeAll()
	}
	p.Names, p.Tensors = nil, nil
}
