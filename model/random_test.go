package model

import (
	"math"
	"testing"

	"alphalora/internal/engine"

	"github.com/stretchr/testify/require"
)

// TestWeightsDrawnOnTheDevice have the shapes and the spread of those drawn on the host.
func TestWeightsDrawnOnTheDevice(t *testing.T) {
	host := testModel(t)
	eng, err := engine.Open("")
	require.NoError(t, err)
	defer eng.Close()
	d := host.Description
	d.Vocabulary = 4096
	if eng.Name == engine.Go {
		t.Skip("skipped: the pure-Go engine draws no numbers on a device")
	}
	m, err := NewRandomOnDevice(eng, d, "float32", 1)
	require.NoError(t, err)
	defer m.Free()
	require.Equal(t, host.Names, m.Names)
	for i, p := range d.held() {
		values, err := Float32s(m.Tensors[i])
		require.NoError(t, err)
		var square float64
		for _, v := range values {
			square += float64(v) * float64(v)
		}
		spread := math.Sqrt(square / float64(len(values)))
		if len(p.Shape) == 1 {
			require.Equal(t, 1.0, spread, p.Name)
			continue
		}
		want := d.deviation(p.Name, 2)
		require.InDelta(t, want, spread, 4*want/math.Sqrt(float64(len(values))), p.Name)
	}
	again, err := NewRandomOnDevice(eng, d, "float32", 1)
	require.NoError(t, err)
	defer again.Free()
	one, _ := Float32s(m.Tensors[0])
	two, _ := Float32s(again.Tensors[0])
	require.Equal(t, one, two, "one seed, one model")
}
