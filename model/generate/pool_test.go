package generate

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"alphalora/internal/engine"

	"github.com/stretchr/testify/require"
)

// guest is a prompt in a pool and what came of it.
type guest struct {
	Asked
	text   string
	tokens []Scored
	finish string
	pieces int
}

func newGuest(ids []int32, o Options) *guest {
	g := &guest{Asked: Asked{IDs: ids, Options: o}}
	g.Take = func(p Piece) error {
		g.text, g.tokens, g.finish, g.pieces = g.text+p.Text, append(g.tokens, p.Tokens...), p.Finish, g.pieces+1
		return nil
	}
	return g
}

func (g *guest) ids() []int32 {
	var ids []int32
	for _, t := range g.tokens {
		ids = append(ids, t.ID)
	}
	return ids
}

// runPool adds guests over the rounds, arriving at random, and returns when all are done.
func runPool(t testing.TB, p *Pool, guests []*guest, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	for rounds := 0; len(guests) > 0 || p.Live() > 0; rounds++ {
		require.Less(t, rounds, 5000)
		for n := rng.IntN(4); n > 0 && p.Free() > 0 && len(guests) > 0; n-- {
			require.NoError(t, p.Add(&guests[0].Asked))
			guests = guests[1:]
		}
		require.NoError(t, p.Round(t.Context()))
		require.LessOrEqual(t, len(p.seats), p.most)
	}
}

// TestPoolsOutputsAreThoseOfBatches: prompts of all lengths that join and leave at random
// lead to what each leads to alone, drawn or not, with ends and stop texts, while the ring
// grows, shrinks and turns.
func TestPoolsOutputsAreThoseOfBatches(t *testing.T) {
	m := tiny(t, "")
	alone := newGenerator(t, m, 1)
	base := somePrompts(14)
	var guests []*guest
	var want []Output
	for i, ids := range base {
		o := Options{MaxNewTokens: 1 + 37*i%110, Ends: []int32{7}, Stops: []string{"zz", "b"}, Text: words}
		choice := 0
		if i%3 == 1 {
			o.Temperature, o.TopP, o.Seed = 1.1, []float64{0, 0.9}[i%2], uint64(i)
		}
		outputs, err := alone.Generate(t.Context(), [][]int32{ids}, o)
		require.NoError(t, err)
		want = append(want, outputs[0])
		guests = append(guests, newGuest(ids, o))
		guests[i].Choice, guests[i].Scores = choice, i%4 == 0
	}
	for _, rows := range []int{8, 1} {
		p := NewPool(alone, rows)
		for _, g := range guests {
			g.text, g.tokens, g.finish, g.pieces = "", nil, "", 0
		}
		runPool(t, p, guests, uint64(rows))
		for i, g := range guests {
			require.Equal(t, append([]int32(nil), want[i].IDs...), g.ids(), "prompt %d with %d rows", i, rows)
			require.Equal(t, want[i].Text, g.text)
			require.Equal(t, want[i].Finish, g.finish)
		}
		require.Equal(t, p.most, p.Free())
	}
}

// TestPoolScores: a generated token's scores are those of the whole sequence scored at
// once, and the alternatives are in order, whatever is drawn.
func TestPoolScores(t *testing.T) {
	m := tiny(t, "")
	g := newGenerator(t, m, 2)
	p := NewPool(g, 4)
	var guests []*guest
	for i, ids := range somePrompts(5) {
		one := newGuest(ids, Options{MaxNewTokens: 20, Temperature: float64(i % 2), Seed: 9})
		one.Scores, one.Top = true, []int{0, 1, 5, 20, 3}[i]
		guests = append(guests, one)
	}
	runPool(t, p, guests, 3)
	for _, one := range guests {
		all, err := g.Score(t.Context(), [][]int32{append(append([]int32{}, one.IDs...), one.ids()...)}, 20)
		require.NoError(t, err)
		require.Len(t, one.tokens, 20)
		for i, got := range one.tokens {
			want := all[0][len(one.IDs)+i]
			require.Equal(t, want.ID, got.ID)
			require.InDelta(t, want.LogProb, got.LogProb, 2e-3)
			require.Len(t, got.Top, one.Top)
			for j, alternative := range got.Top {
				require.InDelta(t, want.Top[j].LogProb, alternative.LogProb, 2e-3)
			}
			if one.Options.Temperature == 0 && one.Top > 0 {
				require.Equal(t, got.ID, got.Top[0].ID, "the likeliest is taken")
			}
		}
	}
}

// TestScoreIsLogProbs holds the scores against the other way to them.
func TestScoreIsLogProbs(t *testing.T) {
	m := tiny(t, "")
	g := newGenerator(t, m, 3)
	prompts := somePrompts(6)
	want, err := g.LogProbs(t.Context(), prompts, nil)
	require.NoError(t, err)
	got, err := g.Score(t.Context(), prompts, 1)
	require.NoError(t, err)
	for i, list := range got {
		require.Len(t, list, len(prompts[i]))
		for j, s := range list {
			require.Equal(t, prompts[i][j], s.ID)
			if j > 0 {
				require.InDelta(t, want[i][j-1], s.LogProb, 1e-3)
				require.GreaterOrEqual(t, s.Top[0].LogProb, s.LogProb-1e-4)
			}
		}
	}
	logits, err := g.Next(t.Context(), prompts[:1])
	require.NoError(t, err)
	best := math.Inf(-1)
	for _, v := range logits[0] {
		best = max(best, float64(v))
	}
	more, err := g.Score(t.Context(), [][]int32{append(append([]int32{}, prompts[0]...), 1)}, 20)
	require.NoError(t, err)
	require.InDelta(t, best, more[0][len(prompts[0])].Top[0].LogProb, 1e-3)
	require.Len(t, more[0][1].Top, 20)
}

// TestPoolLeaving: who leaves by an error does not disturb the others, and an error of the
// engine's empties the pool.
func TestPoolLeaving(t *testing.T) {
	m := tiny(t, "")
	g := newGenerator(t, m, 1)
	prompts := somePrompts(6)
	o := Options{MaxNewTokens: 90}
	want, err := g.Generate(t.Context(), prompts, o)
	require.NoError(t, err)
	p := NewPool(g, 8)
	var guests []*guest
	for i, ids := range prompts {
		one := newGuest(ids, o)
		if i%2 == 1 {
			one.Take = func(Piece) error { return errors.New("gone") }
		}
		guests = append(guests, one)
	}
	runPool(t, p, guests, 8)
	for i, one := range guests {
		if i%2 == 0 {
			require.Equal(t, want[i].IDs, one.ids(), fmt.Sprint(i))
		} else {
			require.Empty(t, one.ids())
		}
	}
}

func TestPoolRefuses(t *testing.T) {
	p := NewPool(newGenerator(t, tiny(t, ""), 1), 2)
	for why, a := range map[string]*Asked{
		"is empty":    {Options: Options{MaxNewTokens: 1}},
		"vocabulary":  {IDs: []int32{testVocabulary}, Options: Options{MaxNewTokens: 1}},
		"no top-k":    {IDs: []int32{1}, Options: Options{MaxNewTokens: 1, TopK: 3}},
		"is 21":       {IDs: []int32{1}, Options: Options{MaxNewTokens: 1}, Scores: true, Top: 21},
		"temperature": {IDs: []int32{1}, Options: Options{MaxNewTokens: 1, Temperature: -1}},
	} {
		require.ErrorContains(t, p.Add(a), why)
	}
	require.Zero(t, p.Live())
}

// TestPoolOnTheGoEngine: the pool works without XLA.
func TestPoolOnTheGoEngine(t *testing.T) {
	m := tiny(t, engine.Go)
	g := newGenerator(t, m, 1)
	prompts := somePrompts(4)
	want, err := g.Greedy(t.Context(), prompts, 6, nil, nil)
	require.NoError(t, err)
	var guests []*guest
	for _, ids := range prompts {
		guests = append(guests, newGuest(ids, Options{MaxNewTokens: 6}))
	}
	runPool(t, NewPool(g, 2), guests, 2)
	for i, one := range guests {
		require.Equal(t, want[i].IDs, one.ids())
	}
}
