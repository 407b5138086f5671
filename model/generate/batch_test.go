package generate

import (
	"context"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"alphalora/internal/engine"
	"alphalora/model"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"
)

const testVocabulary = 48

// tiny is a random model whose weights are large enough for its choices to differ.
func tiny(t testing.TB, engineName string) *model.Model {
	d, err := model.ParseDescription("tiny", []byte(`{"model_type":"llama","vocab_size":48,"hidden_size":32,"intermediate_size":48,
		"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":512,"initializer_range":0.2}`))
	require.NoError(t, err)
	m, err := model.NewRandom(openEngine(t, engineName), d, "float32", 5)
	require.NoError(t, err)
	t.Cleanup(m.Free)
	for _, w := range m.Tensors {
		if w.Rank() == 2 {
			require.NoError(t, tensors.MutableFlatData(w, func(flat []float32) {
				for i := range flat {
					flat[i] *= 8
				}
			}))
		}
	}
	return m
}

func newGenerator(t testing.TB, m *model.Model, rows int) *Generator {
	g, err := New(m, nil, rows)
	require.NoError(t, err)
	t.Cleanup(g.Close)
	return g
}

// somePrompts are of very different lengths.
func somePrompts(n int) [][]int32 {
	rng := rand.New(rand.NewPCG(3, 4))
	prompts := make([][]int32, n)
	for i := range prompts {
		prompts[i] = make([]int32, 1+rng.IntN(12)+70*(i%3/2))
		for j := range prompts[i] {
			prompts[i][j] = rng.Int32N(testVocabulary)
		}
	}
	return prompts
}

// words is a vocabulary of one letter a token, and a few of more.
func words() TextStream {
	list := make([]string, testVocabulary)
	for i := range list {
		list[i] = string(rune('a' + i))
	}
	list[3], list[4], list[5] = "\xf0\x9f", "\x9a\x80", "xyz"
	return &pieces{words: list}
}

// TestOutputsDoNotDependOnTheBatch: alone, in batches of several sizes, in short and long
// chunks, while rows end at different times by tokens and texts, with a cache that grows.
func TestOutputsDoNotDependOnTheBatch(t *testing.T) {
	m, prompts := tiny(t, ""), somePrompts(9)
	for name, o := range map[string]Options{"greedy": {}, "drawn": {Temperature: 1.2, MinP: 0.02, RepetitionPenalty: 1.1, Seed: 4}} {
		t.Run(name, func(t *testing.T) {
			o.MaxNewTokens, o.Ends, o.Stops, o.Text = 150, []int32{7}, []string{"zz", "b"}, words
			want, err := newGenerator(t, m, 1).Generate(t.Context(), prompts, o)
			require.NoError(t, err)
			finishes, lengths := map[string]bool{}, map[int]bool{}
			for _, w := range want {
				finishes[w.Finish], lengths[len(w.IDs)] = true, true
			}
			require.True(t, finishes[Stopped], "some rows end before the limit")
			require.Greater(t, len(lengths), 2, "at different times")
			for _, c := range []struct {
				rows, chunk int
				price       float64
			}{{8, 64, 1e9}, {8, 64, 0}, {3, 5, 0}} {
				g := newGenerator(t, m, c.rows)
				g.chunk = c.chunk
				g.price = c.price
				got, err := g.Generate(t.Context(), prompts, o)
				require.NoError(t, err)
				require.Equal(t, want, got, "batches of %d rows, chunks of %d", c.rows, c.chunk)
			}
		})
	}
}

// TestStreamsAreTheText: the pieces that Emit is given are the outputs' texts.
func TestStreamsAreTheText(t *testing.T) {
	m, prompts := tiny(t, ""), somePrompts(5)
	o := Options{MaxNewTokens: 60, Temperature: 1, Stops: []string{"mn"}, Text: words}
	want, err := newGenerator(t, m, 4).Generate(t.Context(), prompts, o)
	require.NoError(t, err)
	texts := make([]strings.Builder, len(prompts))
	o.Emit = func(prompt int, piece string) error {
		texts[prompt].WriteString(piece)
		return nil
	}
	got, err := newGenerator(t, m, 4).Generate(t.Context(), prompts, o)
	require.NoError(t, err)
	require.Equal(t, want, got)
	for i := range want {
		require.Equal(t, want[i].Text, texts[i].String())
	}
}

// TestDoneRowsStopCosting looks at the batch after seven of eight rows have ended.
func TestDoneRowsStopCosting(t *testing.T) {
	g := newGenerator(t, tiny(t, ""), 8)
	g.price = 0 // else eight tiny rows are cheaper than a graph for one
	o := Options{MaxNewTokens: 100}
	b := &batch{Generator: g, options: &o, pace: 1}
	for i, p := range somePrompts(8) {
		b.rows = append(b.rows, newRow(&o, i, p, testVocabulary))
	}
	require.NoError(t, b.prefill())
	long := b.rows[5]
	for _, r := range b.rows {
		r.done = r != long
	}
	require.NoError(t, b.layOut())
	require.Equal(t, []*row{long}, b.rows)
	require.Equal(t, 1, b.cache[0].Shape().Dim(0))
	require.NoError(t, b.decode())
	free(b.cache)
	alone, err := newGenerator(t, g.model, 1).Generate(t.Context(), [][]int32{long.ids}, Options{MaxNewTokens: b.made})
	require.NoError(t, err)
	require.Equal(t, alone[0].IDs, long.output.IDs)
}

func TestBatchesKeepLikeLengthsTogether(t *testing.T) {
	g := &Generator{rows: 4}
	var rows []*row
	for _, n := range []int{40, 5, 1000, 900, 30, 6, 700, 200, 3} {
		rows = append(rows, &row{ids: make([]int32, n)})
	}
	var lengths [][]int
	for _, part := range g.batches(rows) {
		var list []int
		for _, r := range part {
			list = append(list, len(r.ids))
		}
		lengths = append(lengths, list)
	}
	require.Equal(t, [][]int{{1000, 900, 700}, {200}, {40}, {30, 6, 5, 3}}, lengths)
	for n := 1; n < 5000; n++ {
		b := Bucket(n)
		require.True(t, b >= n && b-n < max(32, n/7+1), "%d in %d", n, b)
	}
}

func TestSeedsAndTemperature(t *testing.T) {
	m, prompts := tiny(t, ""), somePrompts(3)
	g := newGenerator(t, m, 4)
	run := func(o Options) []Output {
		o.MaxNewTokens = 24
		outputs, err := g.Generate(t.Context(), prompts, o)
		require.NoError(t, err)
		return outputs
	}
	require.Equal(t, run(Options{}), run(Options{Temperature: lowest, Seed: 1}), "near 0 the likeliest token is drawn")
	require.Equal(t, run(Options{}), run(Options{Temperature: 2, TopK: 1}))
	require.Equal(t, run(Options{Temperature: 1, Seed: 1}), run(Options{Temperature: 1, Seed: 1}))
	require.NotEqual(t, run(Options{Temperature: 1, Seed: 1}), run(Options{Temperature: 1, Seed: 2}))
	prompts = [][]int32{prompts[0], prompts[0]}
	two := run(Options{Temperature: 1})
	require.NotEqual(t, two[0], two[1], "equal prompts have draws of their own")
}

// TestSampledDistribution draws the next token of one prompt many times and holds the
// counts against the probabilities of the scores: Pearson's χ² with its normal
// approximation, five deviations from the mean. The seed is fixed, and so the result.
func TestSampledDistribution(t *testing.T) {
	m, prompt := tiny(t, ""), []int32{5, 9, 2}
	g := newGenerator(t, m, 256)
	scores, err := g.Logits(prompt)
	require.NoError(t, err)
	flat, err := tensors.CopyFlatData[float32](scores.Vocabulary)
	require.NoError(t, err)
	last, sum := flat[2*testVocabulary:], 0.0
	const temperature, n = 1.5, 4096
	p := make([]float64, testVocabulary)
	for i, s := range last {
		p[i] = math.Exp(float64(s) / temperature)
		sum += p[i]
	}
	prompts := make([][]int32, n)
	for i := range prompts {
		prompts[i] = prompt
	}
	outputs, err := g.Generate(t.Context(), prompts, Options{MaxNewTokens: 1, Temperature: temperature, Seed: 11})
	require.NoError(t, err)
	count := make([]float64, testVocabulary)
	for _, o := range outputs {
		count[o.IDs[0]]++
	}
	chi, cells, rare, rareCount := 0.0, 0, 0.0, 0.0
	for i := range p {
		expected := p[i] / sum * n
		if expected < 5 {
			rare, rareCount = rare+expected, rareCount+count[i]
			continue
		}
		chi, cells = chi+(count[i]-expected)*(count[i]-expected)/expected, cells+1
	}
	require.Greater(t, cells, 5, "there is a choice")
	require.InDelta(t, rare, rareCount, 5*math.Sqrt(rare)+1, "tokens that are too rare for a cell of their own")
	free := float64(cells - 1)
	require.Less(t, chi, free+5*math.Sqrt(2*free))
}

// TestGoEngineDrawsTheSame: the fallback decodes and samples too.
func TestGoEngineDrawsTheSame(t *testing.T) {
	prompts := somePrompts(2)
	for name, o := range map[string]Options{
		"greedy":  {},
		"penalty": {RepetitionPenalty: 1.3},
		"all":     {Temperature: 1.2, TopK: 20, TopP: 0.9, MinP: 0.02, RepetitionPenalty: 1.1, Seed: 4},
	} {
		o.MaxNewTokens = 8
		want, err := newGenerator(t, tiny(t, ""), 2).Generate(t.Context(), prompts, o)
		require.NoError(t, err)
		got, err := newGenerator(t, tiny(t, engine.Go), 2).Generate(t.Context(), prompts, o)
		require.NoError(t, err)
		require.Equal(t, want, got, name)
	}
}

func TestCancelledWorkKeepsWhatHadCome(t *testing.T) {
	m := tiny(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := Options{MaxNewTokens: 400, Text: words, Emit: func(_ int, _ string) error { cancel(); return nil }}
	outputs, err := newGenerator(t, m, 1).Generate(ctx, somePrompts(1), o)
	require.ErrorIs(t, err, context.Canceled)
	require.NotEmpty(t, outputs[0].IDs)
	require.Less(t, len(outputs[0].IDs), 400)
	require.Empty(t, outputs[0].Finish)
}

func TestWrongPromptsAreNamed(t *testing.T) {
	g := newGenerator(t, tiny(t, ""), 1)
	for why, prompts := range map[string][][]int32{
		"prompt 2 is empty":               {{1}, {}},
		"prompt 1 has token 48 at 1":      {{1, 48}},
		"prompt 3 has token -1 at 0, but": {{1}, {2}, {-1}},
	} {
		_, err := g.Generate(t.Context(), prompts, Options{MaxNewTokens: 1})
		require.ErrorContains(t, err, why)
	}
}

// BenchmarkDoneRows compares eight long rows with one long and seven short ones, which
// end after 16 tokens.
func BenchmarkDoneRows(b *testing.B) {
	eng := openEngine(b, "")
	d, err := model.ParseDescription("bench", []byte(`{"model_type":"llama","vocab_size":4096,"hidden_size":512,"intermediate_size":1376,"num_hidden_layers":8,"num_attention_heads":8}`))
	require.NoError(b, err)
	m, err := model.NewRandom(eng, d, "float32", 1)
	require.NoError(b, err)
	defer m.Free()
	g := newGenerator(b, m, 8)
	for name, short := range map[string]int{"EightLong": 128, "OneLong": 16} {
		b.Run(name, func(b *testing.B) {
			run := func() {
				o := Options{MaxNewTokens: 128, Text: words}
				rows := make([]*row, 8)
				for i := range rows {
					own := o
					if i > 0 {
						own.MaxNewTokens = short
					}
					rows[i] = newRow(&own, i, make([]int32, 32), m.Vocabulary)
					rows[i].stream = nil
				}
				o.Stops = []string{"never"}
				require.NoError(b, g.batch(b.Context(), rows, &o))
			}
			run() // compiles
			for b.Loop() {
				run()
			}
		})
	}
}
