package train

import (
	"testing"

	"alphalora/model"
	"alphalora/train/data"

	"github.com/stretchr/testify/require"
)

// A step in packed rows is the step in padded rows: the same loss and the same gradients.
func TestPackedStepIsThePaddedOne(t *testing.T) {
	m, a := tiny(t)
	var samples data.List
	for i := range 8 {
		var s data.Sample
		for j := range 3 + i*5%17 {
			s.IDs = append(s.IDs, int32((i*7+j*j+3*j)%40))
			s.Labels = append(s.Labels, s.IDs[j])
		}
		s.Labels[1] = data.Ignored
		samples = append(samples, s)
	}
	var sums [2][]float32
	var grads [2][]float32
	var positions [2]int
	for i, plan := range []data.Plan{{Batch: 8, Micro: 2}, {Batch: 8, Micro: 2, Pack: 64}} {
		b, err := data.NewBatcher(samples, plan)
		require.NoError(t, err)
		batches, err := b.Step(0)
		require.NoError(t, err)
		st, err := newStepper(m, a, settings{balance: 0.001})
		require.NoError(t, err)
		defer st.close()
		g, s, err := st.gradients(1, batches)
		require.NoError(t, err)
		for _, tensor := range g.Tensors {
			values, err := model.Float32s(tensor)
			require.NoError(t, err)
			grads[i] = append(grads[i], values...)
		}
		sums[i] = s
		for _, m := range batches {
			positions[i] += len(m.IDs)
		}
	}
	require.InDelta(t, sums[0][0], sums[1][0], 1e-3)
	require.InDeltaSlice(t, grads[0], grads[1], 1e-5)
	require.Less(t, positions[1], positions[0])
}
