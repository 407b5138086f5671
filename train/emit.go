package train

import (
	"alphalora/internal/engine"
	"alphalora/model"
	"alphalora/moelora"
	"alphalora/train/data"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// Emit returns the program of one micro-batch of rows·length tokens, forward, backward and
// the sum of gradients, in StableHLO as the model's engine would be given it, on several devices
// with how inputs lie there. Nothing runs: weights may be those of [model.NewShapes].
func Emit(m *model.Model, a *moelora.Adapter, rows, length int, o Options) (string, error) {
	st, err := newStepper(m, a, o.settings())
	if err != nil {
		return "", err
	}
	// the stepper is not closed: its executor would wait for the compilation that Emit cuts off
	ids := make([]int32, rows*length)
	batch := data.Batch{Rows: rows, Length: length, IDs: ids, Labels: ids, Lengths: make([]int32, rows)}
	scalar := func(dtype dtypes.DType) shapes.Shape { return shapes.Make(dtype) }
	var dims []shapes.Shape
	for device := range max(m.Engine.Devices.Count, 1) {
		if a != nil {
			for _, t := range m.On(device) {
				dims = append(dims, t.Shape())
			}
		}
		for range 2 { // the variables, then the gradients so far
			dims = append(dims, st.owned.Shapes()...)
		}
		dims = append(dims, shapes.Make(dtypes.Float32, 1+2*st.layers()), scalar(dtypes.Uint32), scalar(dtypes.Float32), scalar(dtypes.Float32))
		for _, t := range st.inputs(batch, device) {
			dims = append(dims, t.Shape())
		}
	}
	return engine.Emit(func() {
		if _, err := st.accumulate.Compile(dims...); err != nil {
			panic(err)
		}
	})
}
