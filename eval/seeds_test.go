package eval

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSpreads holds figures that are computed by hand: with 2 degrees of freedom Student's
// distribution has P(|T| > t) = 1 - t/√(t²+2), with 1 degree 1 - 2/π·atan t.
func TestSpreads(t *testing.T) {
	s := NewSpread([]float64{0.5, 0.7, 0.6}, false)
	require.InDelta(t, 0.6, s.Mean, 1e-12)
	require.InDelta(t, 0.1, *s.SD, 1e-12)
	half := 0.95 * math.Sqrt(2/(1-0.95*0.95)) * 0.1 / math.Sqrt(3)
	require.InDeltaSlice(t, []float64{0.6 - half, 0.6 + half}, s.CI95[:], 1e-9)
	require.Nil(t, s.P)
	require.Equal(t, []float64{0.5, 0.7, 0.6}, s.Values)

	for _, sign := range []float64{1, -1} {
		d := NewSpread([]float64{sign * 1, sign * 3, sign * 2}, true)
		require.InDelta(t, 1-math.Sqrt(12)/math.Sqrt(14), *d.P, 1e-9)
	}
	d := NewSpread([]float64{0, 2}, true)
	require.InDelta(t, 0.5, *d.P, 1e-9)
	require.InDelta(t, 1-math.Tan(0.475*math.Pi), d.CI95[0], 1e-6)

	one := NewSpread([]float64{0.25}, true)
	require.InDelta(t, 0.25, one.Mean, 0)
	require.Nil(t, one.SD)
	require.Nil(t, one.CI95)
	require.Nil(t, one.P)
	require.Zero(t, *NewSpread([]float64{0.5, 0.5}, true).P)
	require.InDelta(t, 1, *NewSpread([]float64{0, 0, 0}, true).P, 0)
}
