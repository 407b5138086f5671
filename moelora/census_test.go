package moelora_test

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/internal/testkit"
	"alphalora/model"
	"alphalora/model/generate"
	"alphalora/moelora"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"
)

// naive counts as the definitions read, one token after the other, from router logits on
// the host.
type naive struct {
	n                     int
	chosen, weight, first []float64
	gate, entropy         float64
	pairs                 [][]float64
	sets                  [][]bool // of each token
}

func (s *naive) token(logits []float32, k int) {
	e := len(logits)
	if s.n == 0 {
		s.chosen, s.weight, s.first, s.pairs = make([]float64, e), make([]float64, e), make([]float64, e), make([][]float64, e)
		for i := range s.pairs {
			s.pairs[i] = make([]float64, e)
		}
	}
	p, sum := make([]float64, e), 0.0
	for i, l := range logits {
		p[i] = math.Exp(float64(l - slices.Max(logits)))
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
		s.weight[i] += p[i]
		if p[i] > 0 {
			s.entropy -= p[i] * math.Log(p[i])
		}
	}
	set, kept, best := make([]bool, e), 0.0, -1
	for range k {
		top := -1
		for i := range logits {
			if !set[i] && (top < 0 || logits[i] > logits[top]) {
				top = i
			}
		}
		if best < 0 {
			best = top
		}
		set[top] = true
		kept += p[top]
		s.chosen[top]++
	}
	s.first[best]++
	s.gate += p[best] / kept
	for i := range e {
		for j := range e {
			if set[i] && set[j] {
				s.pairs[i][j]++
			}
		}
	}
	s.sets = append(s.sets, set)
	s.n++
}

// rowsOf makes random token ids of random lengths.
func rowsOf(n, longest, vocabulary int) [][]int32 {
	rng := rand.New(rand.NewPCG(7, 8))
	rows := make([][]int32, n)
	for i := range rows {
		rows[i] = make([]int32, 2+rng.IntN(longest-1))
		for j := range rows[i] {
			rows[i][j] = int32(rng.IntN(vocabulary))
		}
	}
	return rows
}

// countAll puts rows into batches and counts them.
func countAll(t *testing.T, m *model.Model, adapters []*moelora.Adapter, rows [][]int32, batch, length int) *moelora.Census {
	c, err := moelora.NewCensus(m, adapters)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	for from := 0; from < len(rows); from += batch {
		ids, lengths := make([]int32, batch*length), make([]int32, batch)
		for i := range ids {
			ids[i] = 1 // padding that would be seen if it counted
		}
		for i, row := range rows[from:min(from+batch, len(rows))] {
			copy(ids[i*length:], row)
			lengths[i] = int32(len(row))
		}
		require.NoError(t, c.Add(ids, lengths, batch, length))
	}
	return c
}

// loops counts the same from the router logits of each row alone.
func loops(t *testing.T, m *model.Model, a *moelora.Adapter, rows [][]int32) map[string]*naive {
	g, err := generate.New(m, a, 1)
	require.NoError(t, err)
	defer g.Close()
	all := map[string]*naive{}
	for _, row := range rows {
		scores, err := g.Logits(row)
		require.NoError(t, err)
		for name, tensor := range scores.Routers {
			values, err := tensors.CopyFlatData[float32](tensor)
			require.NoError(t, err)
			if all[name] == nil {
				all[name] = &naive{}
			}
			e := tensor.Shape().Dim(1)
			for at := 0; at < len(values); at += e {
				all[name].token(values[at:at+e], a.TopK[int(name[0]-'0')])
			}
		}
	}
	return all
}

func requireTally(t *testing.T, want *naive, got *moelora.Tally) {
	t.Helper()
	n := float64(want.n)
	require.Equal(t, want.n, got.Tokens)
	require.Equal(t, want.chosen, got.Chosen)
	require.Equal(t, want.first, got.First)
	require.InDeltaSlice(t, want.weight, got.Weight, 1e-5*n)
	require.InDelta(t, want.gate, got.Gate, 1e-5*n)
	require.InDelta(t, want.entropy, got.Entropy, 1e-5*n)
	e := len(want.chosen)
	for i, row := range want.pairs {
		require.Equal(t, row, got.Pairs[i*e:(i+1)*e])
	}
}

func key(t *moelora.Tally) string { return string(rune('0'+t.Layer)) + "." + t.Site.String() }

// pureGo is the engine that compiles nothing: for loops over many small graphs.
var pureGo = sync.OnceValues(func() (*engine.Engine, error) { return engine.Open(engine.Go) })

// subject is a base with adapters on one engine; tensors do not move between engines.
type subject func(t *testing.T, eng *engine.Engine) (*model.Model, []*moelora.Adapter)

func random(experts, topK []int, targets []model.Site, adapters int) subject {
	return func(t *testing.T, eng *engine.Engine) (*model.Model, []*moelora.Adapter) {
		m, err := model.NewRandom(eng, description, "float32", 9)
		require.NoError(t, err)
		list := make([]*moelora.Adapter, adapters)
		for i := range list {
			list[i] = fresh(t, experts, topK, targets)
			soften(t, list[i], 0.1*float32(i), uint64(i))
		}
		return m, list
	}
}

// soften makes the variables small, so that two engines choose alike, and adds noise.
func soften(t *testing.T, a *moelora.Adapter, noise float32, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 5))
	for i, tensor := range a.Params.Tensors {
		values, err := tensors.CopyFlatData[float32](tensor)
		require.NoError(t, err)
		for j := range values {
			values[j] = 0.3*values[j] + noise*float32(rng.NormFloat64())
		}
		a.Params.Tensors[i] = tensors.FromFlatDataAndDimensions(values, tensor.Shape().Dimensions...)
	}
}

func released(t *testing.T, eng *engine.Engine) (*model.Model, []*moelora.Adapter) {
	dir := testkit.Shared(t, "reference", "llama")
	m, err := model.Load(t.Context(), eng, dir, "float32")
	require.NoError(t, err)
	a, err := moelora.Load(filepath.Join(dir, "adapter"), m, 0)
	require.NoError(t, err)
	return m, []*moelora.Adapter{a}
}

// TestCensusIsTheLoop holds the counts of tiny random models and of an adapter of the
// released code, whatever the batch, against loops over the router logits.
func TestCensusIsTheLoop(t *testing.T) {
	for name, c := range map[string]struct {
		subject     subject
		projections int
	}{
		"some targets": {random([]int{1, 2, 5}, []int{1, 1, 3}, []model.Site{model.K, model.O, model.Up}, 1), 2 * 3},
		"all targets":  {random([]int{3, 0, 4}, []int{2, 0, 4}, model.Sites(), 1), 2 * 7},
		"three":        {random([]int{1, 3, 4}, []int{1, 1, 2}, model.Sites(), 3), 2 * 7},
		"released":     {released, 3 * 7},
	} {
		t.Run(name, func(t *testing.T) { requireCensus(t, c.subject, c.projections) })
	}
}

func requireCensus(t *testing.T, s subject, projections int) {
	eng, err := pureGo()
	require.NoError(t, err)
	m, adapters := s(t, eng)
	rows := rowsOf(7, 20, m.Vocabulary)
	want := make([]map[string]*naive, len(adapters))
	for i, a := range adapters {
		want[i] = loops(t, m, a, rows)
		require.Len(t, want[i], projections)
	}
	for _, batch := range []int{1, 3, 8} {
		requireTallies(t, want, countAll(t, m, adapters, rows, batch, 24))
	}
	m, adapters = s(t, open(t))
	requireTallies(t, want, countAll(t, m, adapters, rows, 3, 24))
}

// requireTallies also holds the drift from adapter to adapter.
func requireTallies(t *testing.T, want []map[string]*naive, c *moelora.Census) {
	moved := 0.0
	for i := range want {
		require.Len(t, c.Tallies(i), len(want[i]))
		for j, got := range c.Tallies(i) {
			now, first, previous := want[i][key(got)], want[0][key(got)], want[max(i-1, 0)][key(got)]
			requireTally(t, now, got)
			d := got.Drift(c.Tallies(0)[j], c.Tallies(max(i-1, 0))[j])
			require.InDelta(t, distance(now, first), d.LoadFirst, 1e-12)
			require.InDelta(t, distance(now, previous), d.LoadPrevious, 1e-12)
			require.InDelta(t, changed(now, first), d.ChosenFirst, 1e-12)
			require.InDelta(t, changed(now, previous), d.ChosenPrevious, 1e-12)
			moved += d.ChosenPrevious
		}
	}
	require.Equal(t, len(want) > 1, moved > 0)
}

func distance(a, b *naive) float64 {
	var slots, sum float64
	for _, c := range a.chosen {
		slots += c
	}
	for i := range a.chosen {
		sum += math.Abs(a.chosen[i]-b.chosen[i]) / slots
	}
	return sum / 2
}

func changed(a, b *naive) float64 {
	n := 0.0
	for i := range a.sets {
		for e := range a.sets[i] {
			if a.sets[i][e] != b.sets[i][e] {
				n++
				break
			}
		}
	}
	return n / float64(len(a.sets))
}

func TestCensusOfNothingRouted(t *testing.T) {
	eng, err := pureGo()
	require.NoError(t, err)
	m, adapters := random([]int{1, 0, 1}, []int{1, 0, 1}, model.Sites(), 1)(t, eng)
	_, err = moelora.NewCensus(m, adapters)
	require.ErrorContains(t, err, "no routed layer")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
}

// TestCensusOfManyExperts leaves the pairs out.
func TestCensusOfManyExperts(t *testing.T) {
	eng, err := pureGo()
	require.NoError(t, err)
	m, adapters := random([]int{moelora.MaxPaired + 1, 2, 0}, []int{2, 2, 0}, []model.Site{model.O, model.V}, 1)(t, eng)
	c := countAll(t, m, adapters, rowsOf(4, 9, m.Vocabulary), 2, 9)
	for _, tally := range c.Tallies(0) {
		require.Equal(t, tally.Layer == 1, tally.Pairs != nil)
		sum := 0.0
		for _, v := range tally.Chosen {
			sum += v
		}
		require.InDelta(t, 2*float64(tally.Tokens), sum, 1e-9)
	}
}
