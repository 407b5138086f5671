package moelora_test

import (
	"math"
	"testing"

	"alphalora/model"
	"alphalora/moelora"

	"github.com/stretchr/testify/require"
)

// tally is ten tokens over four experts, of which each token chose two; expert 3 was
// never chosen, expert 2 once.
func tally() *moelora.Tally {
	return &moelora.Tally{Layer: 1, TopK: 2, Site: model.O, Tokens: 10,
		Chosen: []float64{10, 9, 1, 0}, Weight: []float64{5, 3, 1.5, 0.5}, First: []float64{4, 5, 1, 0},
		Gate: 7, Entropy: 10 * math.Log(2),
		Pairs: []float64{10, 9, 1, 0, 9, 9, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0}, ChangedFirst: 3, ChangedPrevious: 2}
}

// TestUsage works the formulas out by hand.
func TestUsage(t *testing.T) {
	u := tally().Usage(0)
	require.Equal(t, "o_proj", u.Site)
	require.InDeltaSlice(t, []float64{0.5, 0.45, 0.05, 0}, u.Load, 1e-12)
	require.InDeltaSlice(t, []float64{0.5, 0.3, 0.15, 0.05}, u.Weight, 1e-12)
	require.InDeltaSlice(t, []float64{0.4, 0.5, 0.1, 0}, u.First, 1e-12)
	require.InDelta(t, -(0.5*math.Log(0.5)+0.45*math.Log(0.45)+0.05*math.Log(0.05))/math.Log(4), u.LoadEntropy, 1e-12)
	require.InDelta(t, 0.5, u.TokenEntropy, 1e-12)
	require.Equal(t, 1, u.Top1Expert)
	require.InDelta(t, 0.5, u.Top1Share, 1e-12)
	require.InDelta(t, 0.7, u.FirstGate, 1e-12)
	require.InDeltaSlice(t, []float64{1, 0.9, 0.1, 0}, u.Pairs[0], 1e-12)
	require.InDeltaSlice(t, []float64{0.9, 0.9, 0, 0}, u.Pairs[1], 1e-12)

	// A load of 0.05 is a fifth of the even 0.25.
	for threshold, dead := range map[float64][]int{0: {3}, 0.1: {3}, 0.19: {3}, 0.21: {2, 3}, 1: {2, 3}} {
		require.Equal(t, dead, tally().Usage(threshold).Dead, "%v", threshold)
	}
	even := &moelora.Tally{TopK: 1, Tokens: 4, Chosen: []float64{2, 2}, Weight: []float64{2, 2}, First: []float64{2, 2}, Gate: 4, Pairs: []float64{2, 0, 0, 2}}
	u = even.Usage(1)
	require.InDelta(t, 1, u.LoadEntropy, 1e-12)
	require.Equal(t, []int{}, u.Dead, "an even load is not below itself")
	require.Zero(t, u.Top1Expert, "the first of equals")
	require.Nil(t, u.Pairs, "one expert a token has no partner")
}

func TestDriftAndLayers(t *testing.T) {
	first, previous, now := tally(), tally(), tally()
	first.Chosen = []float64{0, 0, 10, 10}
	previous.Chosen = []float64{10, 10, 0, 0}
	d := now.Drift(first, previous)
	require.InDelta(t, 0.95, d.LoadFirst, 1e-12)
	require.InDelta(t, 0.05, d.LoadPrevious, 1e-12)
	require.InDelta(t, 0.3, d.ChosenFirst, 1e-12)
	require.InDelta(t, 0.2, d.ChosenPrevious, 1e-12)

	other := moelora.Drift{Layer: 1, Site: "q_proj", LoadFirst: 0.05, LoadPrevious: 0.15, ChosenFirst: 0.5, ChosenPrevious: 0.4}
	third := moelora.Drift{Layer: 4, Site: "q_proj", LoadFirst: 1}
	layers := moelora.LayerDrift([]moelora.Drift{d, other, third})
	require.Len(t, layers, 2)
	require.Empty(t, layers[0].Site)
	require.InDelta(t, 0.5, layers[0].LoadFirst, 1e-12)
	require.InDelta(t, 0.1, layers[0].LoadPrevious, 1e-12)
	require.InDelta(t, 0.4, layers[0].ChosenFirst, 1e-12)
	require.InDelta(t, 0.3, layers[0].ChosenPrevious, 1e-12)
	require.Equal(t, moelora.Drift{Layer: 4, LoadFirst: 1}, layers[1])

	a, b := tally().Usage(0.21), tally().Usage(0)
	b.LoadEntropy, b.Top1Share = 0, 1
	l := moelora.LayerUsages([]moelora.Usage{a, b})
	require.Len(t, l, 1)
	require.Equal(t, 2, l[0].Projections)
	require.Equal(t, 3, l[0].Dead)
	require.InDelta(t, a.LoadEntropy/2, l[0].LoadEntropy, 1e-12)
	require.InDelta(t, 0.75, l[0].Top1Share, 1e-12)
	require.Empty(t, moelora.LayerUsages(nil))
}
