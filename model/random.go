package model

import (
	"fmt"
	"strings"

	"alphalora/internal/engine"
	"alphalora/model/quant"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
)

// NewRandomOnDevice is [NewRandom] with weights that the device draws, for measurements at
// sizes where the host would take minutes: nothing is copied there and nothing is held
// twice, but for the numbers of one tensor while it is made. Its numbers are those of the
// engine's generator, so they differ from one engine to the next.
func NewRandomOnDevice(eng *engine.Engine, d Description, dtype string, seed int64) (*Model, error) {
	if err := room(eng, d, dtype, quant.None); err != nil {
		return nil, err
	}
	device, _, err := ParseDType(dtype)
	if err != nil {
		return nil, err
	}
	m := &Model{Description: d, Params: &Params{}, Engine: eng, InOut: swapped(eng)}
	makers := map[string]*Exec{}
	defer func() {
		for _, exec := range makers {
			exec.Finalize()
		}
	}()
	for i, p := range d.held() {
		state, err := RNGStateFromSeed(seed<<16 + int64(i))
		if err != nil {
			m.Free()
			return nil, err
		}
		t, err := engine.Try1(func() *tensors.Tensor {
			deviation, shape := d.deviation(p.Name, len(p.Shape)), m.shapeOf(p, device)
			key := fmt.Sprint(shape, deviation)
			if makers[key] == nil {
				makers[key] = MustNewExec(eng.Backend, func(state *Node) *Node { return d.draw(state, p.Name, shape, deviation) })
			}
			return makers[key].MustCall(state)[0]
		})
		if err != nil {
			m.Free()
			return nil, fmt.Errorf("%s: not made on the device: %w", p.Name, err)
		}
		m.Add(p.Name, t)
	}
	return m, nil
}

// NewShapes is a model whose weights are zeros that nobody writes or reads, and which
// therefore take no memory: for graphs that are built and never run.
func NewShapes(eng *engine.Engine, d Description, dtype string, kind quant.Kind) (*Model, error) {
	device, _, err := ParseDType(dtype)
	if err != nil {
		return nil, err
	}
	if err := d.storable(kind); err != nil {
		return nil, err
	}
	m := &Model{Description: d, Params: &Params{}, Engine: eng, InOut: swapped(eng), Quant: kind}
	for _, p := range d.held() {
		if kind == quant.None || !p.projects() {
			m.addShapes(p.Name, m.shapeOf(p, device))
			continue
		}
		for _, piece := range tensorsOf(p, kind.Pieces(p.Shape[0], p.Shape[1])) {
			m.addShapes(piece.Name, shapes.Make(deviceFormats[piece.DType], piece.Shape...))
		}
	}
	return m, nil
}

// addShapes adds a tensor, or its parts on several devices, by its shape.
func (m *Model) addShapes(name string, shape shapes.Shape) {
	devices := m.Engine.Devices
	stored, axis := devices.Split(shape)
	if axis >= 0 {
		stored.Dimensions[axis] /= devices.Count
	}
	parts := make([]*tensors.Tensor, max(devices.Count, 1))
	for i := range parts {
		parts[i] = tensors.FromShape(stored)
	}
	m.addParts(name, parts, axis)
}

// shapeOf is how a tensor lies on the device.
func (m *Model) shapeOf(p place, dtype dtypes.DType) shapes.Shape {
	dims := append([]int(nil), p.Shape...)
	if m.InOut && p.linear {
		dims[0], dims[1] = dims[1], dims[0]
	}
	return shapes.Make(dtype, dims...)
}

// draw makes one tensor: zeros for a bias, what multiplies by 1 for a norm, else normal
// numbers of that deviation.
func (d Description) draw(state *Node, name string, shape shapes.Shape, deviation float64) *Node {
	g := state.Graph()
	switch {
	case strings.HasSuffix(name, ".bias"):
		return Zeros(g, shape)
	case shape.Rank() == 1:
		return FillScalar(g, shape, 1-d.NormOffset)
	}
	_, values := RandomNormal(state, shapes.Make(dtypes.Float32, shape.Dimensions...))
	return ConvertDType(MulScalar(values, deviation), shape.DType)
}
