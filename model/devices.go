package model

import (
	"alphalora/internal/engine"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
)

// Devices is on how many devices the tensors lie.
func (p *Params) Devices() int { return 1 + len(p.Others) }

// On lists the tensors of a device, counted from 0.
func (p *Params) On(device int) []*tensors.Tensor {
	if device == 0 {
		return p.Tensors
	}
	return p.Others[device-1]
}

// Axis is along which axis tensor i is cut into parts, one a device; -1: each device has all.
func (p *Params) Axis(i int) int {
	if p.Axes == nil {
		return -1
	}
	return p.Axes[i]
}

// addParts appends a tensor that lies on every device: parts along an axis, or copies (-1).
func (p *Params) addParts(name string, parts []*tensors.Tensor, axis int) {
	p.Add(name, parts[0])
	if p.Others == nil && len(parts) > 1 {
		p.Others = make([][]*tensors.Tensor, len(parts)-1)
	}
	for i := range p.Others {
		p.Others[i] = append(p.Others[i], parts[i+1])
	}
	p.Axes = append(p.Axes, axis)
}

// Spread copies the tensors to the further devices of those that the engine uses. Lists
// that lie there already stay as they are.
func (p *Params) Spread(eng *engine.Engine) error {
	for device := p.Devices(); device < eng.Devices.Count; device++ {
		list := make([]*tensors.Tensor, p.Len())
		for i, t := range p.Tensors {
			var err error
			if list[i], err = eng.Copy(t, device); err != nil {
				_ = free([][]*tensors.Tensor{list[:i]})
				return err
			}
		}
		p.Others = append(p.Others, list)
	}
	return nil
}

// together is a frozen matrix w, put together where it is divided over devices
// ([engine.Devices.Split]): not before x is there, if x is not nil. With gradient
// checkpointing, whose x is another in the backward pass, that is done there once more, and
// no device ever holds the matrices of more than a few layers.
func together(w, x *Node) *Node {
	if !divided(w) {
		return w
	}
	if x != nil {
		w = SchedulingBarrier(w, StopGradient(x))
	}
	return Reshape(w, -1, w.Shape().Dim(3))
}

// divided tells whether a frozen matrix lies in parts.
func divided(w *Node) bool { return w.Rank() == 4 }
