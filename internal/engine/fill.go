package engine

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/tensors"
)

// Fill makes a tensor on the device whose bytes fill writes. Where device and host share
// their memory it writes right there; elsewhere one tensor's bytes are held twice until
// they are moved.
func (e *Engine) Fill(shape shapes.Shape, fill func(dst []byte) error) (*tensors.Tensor, error) {
	if !e.Backend.HasSharedBuffers() || shape.Size() == 0 {
		data := make([]byte, shape.ByteSize())
		if err := fill(data); err != nil {
			return nil, err
		}
		t, err := tensors.FromRaw(e.Backend, 0, shape, data)
		return t, Broken(err)
	}
	buffer, flat, err := e.Backend.NewSharedBuffer(0, shape)
	if err != nil {
		return nil, Broken(err)
	}
	if err := fill(dtypes.UnsafeByteSliceFromAny(flat)); err != nil {
		_ = buffer.Finalize()
		return nil, err
	}
	return tensors.FromBuffer(buffer)
}
