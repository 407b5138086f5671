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
	Tensors []*tensors.Tensor   // on the first device
	Others  [][]*tensors.Tensor // on each further device: copies, or other parts; devices.go
	Axes    []int               // along which each tensor is cut into parts, -1 for whole; nil: all are whole
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
// frees those. It takes a list for each device.
func (p *Params) Replace(with ...[]*tensors.Tensor) error {
	for _, list := range with {
		if len(list) != p.Len() {
			return fmt.Errorf("params: %d tensors for %d names", len(list), p.Len())
		}
	}
	old := append([][]*tensors.Tensor{append([]*tensors.Tensor(nil), p.Tensors...)}, p.Others...)
	copy(p.Tensors, with[0])
	p.Others = with[1:]
	return free(old)
}

// Free releases the tensors.
func (p *Params) Free() {
	_ = free(append(p.Others, p.Tensors))
	p.Names, p.Tensors, p.Others, p.Axes = nil, nil, nil, nil
}

func free(lists [][]*tensors.Tensor) error {
	for _, list := range lists {
		for _, t := range list {
			if err := t.FinalizeAll(); err != nil {
				return err
			}
		}
	}
	return nil
}
