package train

import (
	"fmt"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/train/data"

	"github.com/gomlx/gomlx/core/tensors"
)

// Data parallelism: every device runs the same program on its rows of each micro-batch.
// What is trained lies whole on each device, and the frozen weights do so or are divided;
// the engine's partitioner finds out from this what is exchanged. The program computes what
// one device would, up to the order of sums: routing losses, dropout masks and padding are
// those of the whole micro-batch. docs/scaling.md counts what is exchanged.

// How an input lies on the devices, besides cut along an axis.
const (
	whole  = -1 // each has all of it
	byRows = 0  // each has its rows of a batch
)

// layout tells how the inputs of a program lie: the frozen weights, so many that are whole,
// then those of a batch, of which the last stands for all that follow.
func (s *stepper) layout(others int) []int {
	var list []int
	if s.adapter != nil {
		for i := range s.model.Len() {
			list = append(list, s.model.Axis(i))
		}
	}
	for range others {
		list = append(list, whole)
	}
	return append(list, byRows)
}

// lanes makes a program's inputs, a list for each device.
func (s *stepper) lanes(of func(device int) []*tensors.Tensor) [][]*tensors.Tensor {
	lists := make([][]*tensors.Tensor, max(s.model.Engine.Devices.Count, 1))
	for device := range lists {
		lists[device] = of(device)
	}
	return lists
}

// spread copies what is trained to every device.
func (s *stepper) spread() error {
	for _, list := range []*model.Params{s.owned, s.m, s.v, s.zeros} {
		if err := list.Spread(s.model.Engine); err != nil {
			return err
		}
	}
	return nil
}

// listOf names outputs from to to-1 of each device.
func listOf(names []string, outs [][]*tensors.Tensor, from, to int) *model.Params {
	p := &model.Params{Names: append([]string(nil), names...), Tensors: outs[0][from:to]}
	for _, list := range outs[1:] {
		p.Others = append(p.Others, list[from:to])
	}
	return p
}

// without frees the tensors from n on and returns those before.
func without(p *model.Params, n int) *model.Params {
	lists := make([][]*tensors.Tensor, p.Devices())
	for device := range lists {
		lists[device] = p.On(device)
		for _, t := range lists[device][n:] {
			_ = t.FinalizeAll()
		}
	}
	return listOf(p.Names[:n], lists, 0, n)
}

// inputs is a device's rows of a batch: ids and labels [B, T], lengths [B], and of packed
// rows segments [B, T].
func (s *stepper) inputs(b data.Batch, device int) []*tensors.Tensor {
	own := b.Rows / max(s.model.Engine.Devices.Count, 1)
	matrix := func(values []int32) *tensors.Tensor {
		return tensors.FromFlatDataAndDimensions(values[device*own*b.Length:][:own*b.Length], own, b.Length)
	}
	list := []*tensors.Tensor{matrix(b.IDs), matrix(b.Labels), tensors.FromFlatDataAndDimensions(b.Lengths[device*own:][:own], own)}
	if b.Segments != nil {
		list = append(list, matrix(b.Segments))
	}
	return list
}

// Divisible holds that the rows of a micro-batch can be divided over devices.
func Divisible(micro, batch, devices int) error {
	if devices <= 1 || micro%devices == 0 {
		return nil
	}
	nearest := 0
	for m := devices; m <= batch; m += devices {
		if batch%m == 0 && (nearest == 0 || max(m-micro, micro-m) < max(nearest-micro, micro-nearest)) {
			nearest = m
		}
	}
	remedy := fmt.Sprintf("use %d, the nearest that divides batch %d too", nearest, batch)
	if nearest == 0 {
		remedy = fmt.Sprintf("no micro_batch fits batch %d: make batch a multiple of %d, such as %d", batch, devices, (batch+devices-1)/devices*devices)
	}
	return fault.Input(fmt.Sprintf("training.micro_batch %d", micro), remedy, "its rows cannot be divided over %d devices", devices)
}

// On turns the estimate for one device and its rows, with all weights, into that for one of
// several; where they share a memory, as those of one processor do, for all of them.
func (m Memory) On(d engine.Devices, shared bool) Memory {
	n := int64(max(d.Count, 1))
	if d.Divided {
		m.Weights /= n
	}
	if shared {
		m.Weights, m.Trained, m.Activations, m.Scores = m.Weights*n, m.Trained*n, m.Activations*n, m.Scores*n
	}
	return m
}
