package generate

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"alphalora/internal/engine"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"
)

func openEngine(t testing.TB, name string) *engine.Engine {
	eng, err := engine.Open(name)
	require.NoError(t, err)
	t.Cleanup(eng.Close)
	return eng
}

// golden is a case of testdata/processors.json, which scripts/goldens-sampling/make.py writes.
type golden struct {
	Temperature   float64   `json:"temperature"`
	TopK          int       `json:"top_k"`
	TopP          float64   `json:"top_p"`
	MinP          float64   `json:"min_p"`
	Penalty       float64   `json:"repetition_penalty"`
	Scores        []float32 `json:"scores"`
	Seen          []int     `json:"seen"`
	Probabilities []float64 `json:"probabilities"`
}

func (c golden) options() Options {
	o := Options{Temperature: c.Temperature, TopK: c.TopK, TopP: c.TopP, MinP: c.MinP, RepetitionPenalty: c.Penalty}
	if o.Temperature == 0 {
		o.Temperature = 1
	}
	return o
}

// chooser compiles a graph of each kind once.
type chooser struct {
	engine *engine.Engine
	graphs map[features]*Exec
}

func newChooser(t *testing.T, engineName string) chooser {
	return chooser{openEngine(t, engineName), map[features]*Exec{}}
}

// drawn chooses one token for each draw, of the same scores.
func (ch chooser) drawn(t *testing.T, o Options, scores []float32, seen []int, draws []float32) []int32 {
	n, v := len(draws), len(scores)
	f, all, marks := o.features(), make([]float32, 0, n*v), make([]bool, n*v)
	for i := range n {
		all = append(all, scores...)
		for _, id := range seen {
			marks[i*v+id] = true
		}
	}
	if ch.graphs[f] == nil {
		exec, err := NewExec(ch.engine.Backend, func(in []*Node) []*Node {
			var c choice
			c.read(f, in[1:])
			return []*Node{c.choose(f, in[0], ScalarZero(in[0].Graph(), dtypes.Int32))}
		})
		require.NoError(t, err)
		ch.graphs[f] = exec
	}
	args := []any{tensors.FromFlatDataAndDimensions(all, n, v), tensors.FromFlatDataAndDimensions(o.knobs(), 1, knobCount)}
	if f.penalty {
		args = append(args, tensors.FromFlatDataAndDimensions(marks, n, v))
	}
	args = append(args, tensors.FromFlatDataAndDimensions(draws, n, 1))
	ids, err := tensors.CopyFlatData[int32](ch.graphs[f].MustCall(args...)[0])
	require.NoError(t, err)
	return ids
}

// TestChoiceEqualsTransformers draws with evenly spaced numbers, so that each token comes
// as often as its probability says, up to one.
func TestChoiceEqualsTransformers(t *testing.T) {
	content, err := os.ReadFile("testdata/processors.json")
	require.NoError(t, err)
	var cases []golden
	require.NoError(t, json.Unmarshal(content, &cases))
	require.Len(t, cases, 15)
	const n = 4096
	draws := make([]float32, n)
	for i := range draws {
		draws[i] = (float32(i) + 0.5) / n
	}
	for _, name := range []string{"", engine.Go} {
		ch := newChooser(t, name)
		for i, c := range cases {
			count := make([]int, len(c.Scores))
			for _, id := range ch.drawn(t, c.options(), c.Scores, c.Seen, draws) {
				count[id]++
			}
			for id, p := range c.Probabilities {
				require.InDelta(t, p*n, count[id], 1.01, "case %d, token %d", i, id)
				if p == 0 {
					require.Zero(t, count[id], "case %d, token %d", i, id)
				}
			}
		}
	}
}

// TestTiesAndEdges: tokens of equal score at an edge stay together, draws at the ends of
// their range find a token, and no token of no weight is ever drawn.
func TestTiesAndEdges(t *testing.T) {
	ch := newChooser(t, "")
	edges := []float32{0x1p-24, 0x1p-20, 0.25, 0.5, 1 - 0x1p-24, 1} // from the least that uniform gives
	tied := []float32{1, 3, 3, 3, 1, 1}
	for _, o := range []Options{{Temperature: 1, TopK: 1}, {Temperature: 1, TopP: 1e-9}, {Temperature: lowest}, {Temperature: 1, MinP: 1}} {
		ids := ch.drawn(t, o, tied, nil, edges)
		require.Equal(t, []int32{1, 1, 1, 2, 3, 3}, ids, "%+v", o)
	}
	far := []float32{-math.MaxFloat32, -200, 5, -math.MaxFloat32, 4.9, float32(math.Inf(-1))}
	for _, id := range ch.drawn(t, Options{Temperature: 1}, far, nil, edges) {
		require.Contains(t, []int32{2, 4}, id)
	}
}

// TestReach holds the search against a loop over the keys in order.
func TestReach(t *testing.T) {
	eng := openEngine(t, "")
	rng := rand.New(rand.NewPCG(1, 2))
	const b, v, width = 64, 50, 6
	keys, weights, targets := make([]int32, b*v), make([]float32, b*v), make([]float32, b)
	for i := range keys {
		keys[i], weights[i] = rng.Int32N(1<<width), float32(rng.IntN(4)) // whole weights: sums are exact
	}
	for i := range targets {
		targets[i] = float32(rng.IntN(90))
	}
	exec, err := NewExec(eng.Backend, func(in []*Node) *Node { return reach(in[0], in[1], in[2], width) })
	require.NoError(t, err)
	defer exec.Finalize()
	out := exec.MustCall(tensors.FromFlatDataAndDimensions(keys, b, v), tensors.FromFlatDataAndDimensions(weights, b, v), tensors.FromFlatDataAndDimensions(targets, b, 1))
	got, err := tensors.CopyFlatData[int32](out[0])
	require.NoError(t, err)
	for row := range b {
		want := int32(1<<width - 1)
		for edge := int32(1<<width - 1); edge >= 0; edge-- {
			mass := float32(0)
			for i := row * v; i < (row+1)*v; i++ {
				if keys[i] <= edge {
					mass += weights[i]
				}
			}
			if mass >= targets[row] {
				want = edge
			}
		}
		require.Equal(t, want, got[row], "row %d", row)
	}
}

func TestDrawsAreUniformAndTheirOwn(t *testing.T) {
	seen := map[float32]bool{}
	for seed := range uint64(3) {
		for prompt := range 3 {
			r := randomOf(seed, prompt)
			sum := 0.0
			for i := range 4000 {
				u := uniform(r)
				require.True(t, u > 0 && u <= 1)
				sum += float64(u)
				if i == 0 {
					require.False(t, seen[u], "two streams begin alike")
					seen[u] = true
				}
			}
			require.InDelta(t, 0.5, sum/4000, 5/math.Sqrt(12*4000))
		}
	}
	a, b := &row{random: randomOf(7, 1)}, &row{random: randomOf(7, 1)}
	require.Equal(t, a.draw(20), b.draw(20))
	require.Equal(t, a.draw(3), b.draw(3), "in whatever order they are asked for")
	require.True(t, slices.Equal(a.drawn, b.drawn))
}
