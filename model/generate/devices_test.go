package generate

import (
	"errors"
	"sync"
	"testing"

	"alphalora/internal/engine"
	"alphalora/model"
	"alphalora/model/quant"
	"alphalora/moelora"

	"github.com/stretchr/testify/require"
)

// onDevices is a generator whose small random model and adapter lie on so many devices.
func onDevices(t *testing.T, devices int) *Generator { return storedOn(t, devices, quant.None) }

// storedOn is that with the projections stored as kind says.
func storedOn(t *testing.T, devices int, stored quant.Kind) *Generator {
	eng, err := engine.Open("")
	require.NoError(t, err)
	t.Cleanup(eng.Close)
	if have := eng.Backend.NumDevices(); have < devices {
		t.Skipf("skipped: %s has %d devices, %d are needed", eng.Name, have, devices)
	}
	require.NoError(t, eng.Use("devices", devices, false))
	d := model.Description{Family: "llama", Vocabulary: 40, Hidden: 16, Layers: 1, Heads: 4, KVHeads: 2, HeadDim: 4,
		Intermediate: 24, Context: 64, NormEps: 1e-6, EmbedScale: 1, AttentionScale: 0.5, Rope: model.PlainRope(4, 10000), Activation: model.SiLU, Tied: true}
	m, err := model.NewRandomQuantised(eng, d, "float32", 5, stored)
	require.NoError(t, err)
	a, err := moelora.New(m, moelora.Shape{Kind: moelora.MoELoRA, Rank: 4, Alpha: 8, Experts: []int{3}, TopK: []int{2}, Targets: model.Sites()}, 6)
	require.NoError(t, err)
	require.NoError(t, a.Params.Spread(eng))
	g, err := New(m, a, 2)
	require.NoError(t, err)
	t.Cleanup(g.Close)
	return g
}

// TestDevicesGiveTheSameAnswers holds outputs, drawn and likeliest, and scores of four
// devices against those of one, over a base in few bits; TestForksOnSeveralDevices has a whole one.
func TestDevicesGiveTheSameAnswers(t *testing.T) {
	var prompts [][]int32
	for i := range 15 {
		p := []int32{1}
		for j := range i % 9 {
			p = append(p, int32((i*7+j*j+3*j)%40))
		}
		prompts = append(prompts, p)
	}
	answers := func(devices int, stored quant.Kind) (list []any) {
		g := storedOn(t, devices, stored)
		require.Equal(t, devices, g.Devices())
		done := 0
		o := Options{MaxNewTokens: 12, Ends: []int32{3}, Progress: func(n int) { require.Greater(t, n, done); done = n }}
		for _, o.Temperature = range []float64{0, 1.5} {
			done = 0
			outs, err := g.Generate(t.Context(), prompts, o)
			require.NoError(t, err)
			require.Equal(t, len(prompts), done)
			list = append(list, outs)
		}
		scores, err := g.LogProbs(t.Context(), prompts, nil)
		require.NoError(t, err)
		return append(list, scores)
	}
	one := answers(1, quant.Int8)
	require.NotEqual(t, one[0], one[1])
	require.Equal(t, one, answers(4, quant.Int8))
}

func TestShareGivesEachPartToOneDevice(t *testing.T) {
	g := onDevices(t, 4)
	var mu sync.Mutex
	seen, on := map[int]int{}, map[int]bool{}
	parts := make([]int, 40)
	for i := range parts {
		parts[i] = i
	}
	var together sync.WaitGroup // the first part of each device waits for those of the others
	together.Add(4)
	require.NoError(t, share(g, parts, func(g *Generator, part int) error {
		mu.Lock()
		seen[part]++
		first := !on[g.device]
		on[g.device] = true
		mu.Unlock()
		if first {
			together.Done()
			together.Wait()
		}
		return nil
	}))
	require.Len(t, on, 4)
	require.Len(t, seen, len(parts))
	for _, n := range seen {
		require.Equal(t, 1, n)
	}
	done := 0
	failure := errors.New("fails")
	require.ErrorIs(t, share(g, parts, func(_ *Generator, part int) error {
		mu.Lock()
		defer mu.Unlock()
		done++
		if part == 5 {
			return failure
		}
		return nil
	}), failure)
	require.Less(t, done, len(parts), "no more parts after an error")
}
