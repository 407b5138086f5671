package engine

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"alphalora/internal/fault"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/distributed"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/tensors"
)

// Devices says which devices of an engine a job runs on, and how its frozen weights lie.
type Devices struct {
	Count   int  // the first so many; 0 and 1: the first alone
	Divided bool // each holds a part of the frozen weights; otherwise each holds all
}

// All asks for every device that there is.
const All = -1

// Use sets the devices of the jobs to come: all of them, or the first count. what names
// who asks, for the error.
func (e *Engine) Use(what string, count int, divided bool) error {
	have := e.Backend.NumDevices()
	if count == All {
		count = have
	}
	if count > have {
		return fault.Input(fmt.Sprintf("%s %d", what, count), fmt.Sprintf("use at most %d, or all", have),
			"are more devices than the %d of %s", have, e.Name)
	}
	if err := e.widen(count); err != nil {
		return err
	}
	e.Devices = Devices{Count: max(count, 1), Divided: divided && count > 1}
	return nil
}

// poolVariable is what XLA takes the size of a CPU's pool of threads from, before it counts
// cores.
const poolVariable = "NPROC"

// widen opens a CPU engine anew with a thread for each device beside those of the cores. The
// devices of one processor share a pool, and a device that waits for the others in an
// exchange keeps a thread: with fewer than devices they wait for each other forever, and XLA
// ends the process after 40 seconds.
func (e *Engine) widen(devices int) error {
	need := runtime.NumCPU() + devices
	if devices <= 1 || e.threads >= need || e.Plugin == "" || !e.Backend.HasSharedBuffers() {
		return nil
	}
	before, set := os.LookupEnv(poolVariable)
	if err := os.Setenv(poolVariable, strconv.Itoa(need)); err != nil {
		return err
	}
	wide, err := openPlugin(e.Name, e.Plugin)
	if set {
		err = errors.Join(err, os.Setenv(poolVariable, before))
	} else {
		err = errors.Join(err, os.Unsetenv(poolVariable))
	}
	if err != nil {
		return err
	}
	e.older, e.Backend, e.threads = append(e.older, e.Backend), wide.Backend, need
	return nil
}

// Split tells how a frozen matrix is divided: as it is stored, [2, devices, rows, columns],
// along the axis 1. axis -1: it lies whole on each device, as all that is no matrix or has no
// such number of rows does.
//
// A device so has two blocks of rows that do not follow each other. The partitioner cannot
// express that in terms of the matrix, and therefore puts the matrix together where it is
// used. Of a matrix cut into one block a device it can, and then it cuts activations along
// that axis too, and exchanges those (docs/scaling.md has what it does then).
func (d Devices) Split(shape shapes.Shape) (stored shapes.Shape, axis int) {
	if !d.Divided || shape.Rank() != 2 || shape.Dimensions[0]%(2*d.Count) != 0 {
		return shape, -1
	}
	return shapes.Make(shape.DType, 2, d.Count, shape.Dimensions[0]/(2*d.Count), shape.Dimensions[1]), 1
}

// Mesh lists the devices as gomlx's partitioner wants them: one axis called "data".
func (d Devices) Mesh() (*distributed.DeviceMesh, error) {
	return distributed.NewDeviceMesh([]int{d.Count}, []string{meshAxis})
}

const meshAxis = "data"

// Spec tells the partitioner that a tensor is divided along an axis; -1: that it is whole
// on each device.
func Spec(mesh *distributed.DeviceMesh, axis int) *distributed.ShardingSpec {
	spec := distributed.NewReplicatedShardingSpec(mesh)
	for i := range axis + 1 {
		spec.Axes = append(spec.Axes, distributed.ReplicatedAxis)
		if i == axis {
			spec.Axes[i] = distributed.AxisSpec{meshAxis}
		}
	}
	return spec
}

// FillEach makes a frozen tensor on every device in use, whose bytes fill writes: its parts
// along [Devices.Split], or copies. No device holds more than its own at any time.
func (e *Engine) FillEach(shape shapes.Shape, fill func(dst []byte) error) ([]*tensors.Tensor, error) {
	if e.Devices.Count <= 1 {
		t, err := e.Fill(shape, fill)
		return []*tensors.Tensor{t}, err
	}
	data := make([]byte, shape.ByteSize())
	if err := fill(data); err != nil {
		return nil, err
	}
	shape, axis := e.Devices.Split(shape)
	parts := make([]*tensors.Tensor, e.Devices.Count)
	for i := range parts {
		part, own := shape, data
		if axis >= 0 {
			part, own = cut(shape, data, axis, i, len(parts))
		}
		var err error
		if parts[i], err = tensors.FromRaw(e.Backend, compute.DeviceNum(i), part, own); err != nil {
			return nil, Broken(err)
		}
	}
	return parts, nil
}

// Copy copies a tensor to a device.
func (e *Engine) Copy(t *tensors.Tensor, device int) (*tensors.Tensor, error) {
	var to *tensors.Tensor
	var failed error
	err := t.ConstBytes(func(data []byte) {
		to, failed = tensors.FromRaw(e.Backend, compute.DeviceNum(device), t.Shape(), data)
	})
	if err == nil {
		err = failed
	}
	return to, err
}

// cut is part i of n of an array along an axis.
func cut(shape shapes.Shape, data []byte, axis, i, n int) (shapes.Shape, []byte) {
	part := shape.Clone()
	part.Dimensions[axis] /= n
	run := part.DType.Size() // bytes that lie together
	for _, dim := range part.Dimensions[axis:] {
		run *= dim
	}
	own := make([]byte, 0, len(data)/n)
	for at := i * run; at < len(data); at += n * run {
		own = append(own, data[at:at+run]...)
	}
	return part, own
}
