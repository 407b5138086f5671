package eval

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/eval/benchmark"
	"alphalora/internal/fault"
	"alphalora/internal/testkit"
)

// towns are lettered questions; the answer to question i is the letter of i mod 3.
func towns(t *testing.T, n int) (benchmark.Benchmark, []benchmark.Item) {
	t.Helper()
	var records []map[string]string
	for i := range n {
		records = append(records, map[string]string{
			"instruction": fmt.Sprintf("Which town?%s\nOptions: (A) Oru (B) Tem (C) Val\nKey %d;", strings.Repeat(" please", (i*7)%5), i),
			"input":       "", "output": fmt.Sprintf("Answer: The answer is %c.", 'A'+i%3)})
	}
	data, err := json.Marshal(records)
	require.NoError(t, err)
	b := benchmark.New("towns", benchmark.Choice, nil)
	items, err := b.Read("towns.json", strings.NewReader(string(data)))
	require.NoError(t, err)
	return b, items
}

// writer is a generator that answers by the key at the end of the prompt.
type writer struct {
	batches [][]string
	answer  func(key int) string
	fail    error
	drop    bool
}

func keyOf(prompt string) (key int) {
	_, _ = fmt.Sscanf(prompt[strings.LastIndex(prompt, "Key ")+4:], "%d", &key)
	return key
}

func (w *writer) Generate(_ context.Context, prompts []string, o GenerateOptions) ([]Output, error) {
	w.batches = append(w.batches, prompts)
	if w.fail != nil {
		return nil, w.fail
	}
	var outputs []Output
	for _, p := range prompts {
		outputs = append(outputs, Output{Text: w.answer(keyOf(p)), Tokens: o.MaxNewTokens, Finish: "stop", PromptTokens: len(p)})
	}
	if w.drop {
		outputs = outputs[1:]
	}
	return outputs, nil
}

// mostly is right but for every fifth answer, which it does not give.
func mostly(key int) string {
	if key%5 == 4 {
		return "I cannot say."
	}
	return fmt.Sprintf("Answer: The answer is %c.", 'A'+key%3)
}

func TestRunGradesInOrderWhateverTheBatch(t *testing.T) {
	b, items := towns(t, 20)
	var first Result
	for _, batch := range []int{1, 8, 64} {
		w := &writer{answer: mostly}
		var progress []int
		r, err := Run(context.Background(), w, items, b, Options{Split: "test", Batch: batch, MaxNewTokens: 5,
			Progress: func(done, total int) { require.Equal(t, 20, total); progress = append(progress, done) }})
		require.NoError(t, err)
		require.Len(t, w.batches, (20+batch-1)/batch)
		require.Len(t, progress, len(w.batches))
		require.Equal(t, 20, progress[len(progress)-1])
		if batch == 1 {
			first = r
		}
		require.Equal(t, untimed(first), untimed(r))
	}
	require.Equal(t, 16, first.Correct)
	require.Equal(t, 4, first.Unparsed)
	require.InDelta(t, 0.8, first.Accuracy, 1e-12)
	require.InDelta(t, 7.0/20, *first.Majority, 1e-12)
	require.Equal(t, "strict", first.AnswerRule)
	require.Len(t, first.PromptSHA256, 64)
	for i, s := range first.Samples {
		require.Equal(t, i, s.Index)
		require.Equal(t, items[i].Prompt, s.Prompt)
		require.Equal(t, mostly(i), s.Output)
		require.Equal(t, i%5 == 4, s.Unparsed)
		require.Equal(t, i%5 != 4, s.Correct)
		require.Equal(t, s.Unparsed, s.Prediction == "")
	}
}

func untimed(r Result) Result {
	r.Seconds, r.ItemsPerSecond = 0, 0
	return r
}

func TestRunBatchesByLengthLongestFirst(t *testing.T) {
	b, items := towns(t, 20)
	w := &writer{answer: mostly}
	_, err := Run(context.Background(), w, items, b, Options{Batch: 4, MaxNewTokens: 1})
	require.NoError(t, err)
	last := math.MaxInt
	for _, batch := range w.batches {
		for _, p := range batch {
			require.LessOrEqual(t, len(p), last)
			last = len(p)
		}
	}
}

func TestRunAppliesTheRule(t *testing.T) {
	b, items := towns(t, 3)
	w := &writer{answer: func(int) string { return "The answer is A. The answer is B." }}
	for rule, correct := range map[benchmark.Rule]int{benchmark.Strict: 0, benchmark.First: 1, benchmark.Last: 1} {
		r, err := Run(context.Background(), w, items, b, Options{Batch: 2, MaxNewTokens: 1, Rule: rule})
		require.NoError(t, err)
		require.Equal(t, correct, r.Correct)
		require.Equal(t, string(rule), r.AnswerRule)
	}
}

func TestRunFails(t *testing.T) {
	b, items := towns(t, 4)
	ok := Options{Batch: 2, MaxNewTokens: 1}
	broken := errors.New("device lost")
	_, err := Run(context.Background(), &writer{fail: broken}, items, b, ok)
	require.ErrorIs(t, err, broken)
	_, err = Run(context.Background(), &writer{answer: mostly, drop: true}, items, b, ok)
	require.ErrorContains(t, err, "gave 1 outputs for 2 prompts")
	for _, c := range []struct {
		items []benchmark.Item
		opt   Options
	}{
		{nil, ok},
		{items, Options{MaxNewTokens: 1}},
		{items, Options{Batch: 1}},
		{items, Options{Batch: 1, MaxNewTokens: 1, Rule: "lenient"}},
		{items, Options{Batch: 1, MaxNewTokens: 1, OverContext: "drop"}},
	} {
		_, err = Run(context.Background(), &writer{answer: mostly}, c.items, b, c.opt)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	}
}

func TestRunStopsWhenCancelled(t *testing.T) {
	b, items := towns(t, 20)
	ctx, cancel := context.WithCancel(context.Background())
	w := &writer{answer: mostly}
	_, err := Run(ctx, w, items, b, Options{Batch: 4, MaxNewTokens: 1, Progress: func(done, _ int) {
		if done == 8 {
			cancel()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, w.batches, 2)
}

// bytes counts bytes for tokens.
type byteCounter int

func (byteCounter) CountTokens(text string) int { return len(text) }
func (c byteCounter) Context() int              { return int(c) }

// wordCounter has many bytes to some tokens.
type wordCounter struct{}

func (wordCounter) CountTokens(text string) int { return len(strings.Fields(text)) }
func (wordCounter) Context() int                { return 0 }

// TestTheMostTokensComeFirst holds batches to the order in which they are padded: by
// tokens, whatever their bytes.
func TestTheMostTokensComeFirst(t *testing.T) {
	b, items := towns(t, 9)
	for i := range items {
		items[i] = items[i].WithInstruction(strings.Repeat("w ", i+1) + strings.Repeat("x", 90-10*i) + fmt.Sprintf(" Key %d;", i))
	}
	w := &writer{answer: mostly}
	_, err := Run(context.Background(), w, items, b, Options{Batch: 2, MaxNewTokens: 1, Counter: wordCounter{}})
	require.NoError(t, err)
	var keys []int
	for _, batch := range w.batches {
		for _, prompt := range batch {
			keys = append(keys, keyOf(prompt))
		}
	}
	require.Equal(t, []int{8, 7, 6, 5, 4, 3, 2, 1, 0}, keys)
}

func TestOverContext(t *testing.T) {
	b, items := towns(t, 5)
	shortest := len(items[0].Prompt) // the others say please
	options := func(p Policy, context int) Options {
		return Options{Batch: 2, MaxNewTokens: 1, OverContext: p, Counter: byteCounter(context)}
	}
	right := func(key int) string { return fmt.Sprintf("The answer is %c", 'A'+key%3) }
	for _, policy := range []Policy{"", Allow} {
		r, err := Run(context.Background(), &writer{answer: right}, items, b, options(policy, shortest))
		require.NoError(t, err)
		require.Equal(t, 4, r.OverContext)
		require.Equal(t, items[1].Prompt, r.Samples[1].Prompt)
	}
	r, err := Run(context.Background(), &writer{answer: right}, items, b, options(Truncate, shortest))
	require.NoError(t, err)
	require.Equal(t, 4, r.OverContext)
	require.Equal(t, 5, r.Correct)
	for i, s := range r.Samples {
		require.Len(t, s.Prompt, shortest)
		require.True(t, strings.HasSuffix(s.Prompt, fmt.Sprintf("Key %d;\n\n### Response:\n", i)))
		require.True(t, strings.HasPrefix(s.Prompt, "Below is an instruction"))
	}
	_, err = Run(context.Background(), &writer{answer: right}, items, b, options(Refuse, shortest))
	require.ErrorContains(t, err, "towns: record 2")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	_, err = Run(context.Background(), &writer{answer: right}, items, b, options(Truncate, 20))
	require.ErrorContains(t, err, "even without its instruction")
	r, err = Run(context.Background(), &writer{answer: right}, items, b, options(Refuse, 0))
	require.NoError(t, err, "no context is stated")
	require.Zero(t, r.OverContext)
}

func TestTruncateKeepsWholeCharacters(t *testing.T) {
	it := benchmark.Item{}.WithInstruction("äöü€")
	short, ok := truncate(it, byteCounter(len(it.Prompt)-3))
	require.True(t, ok)
	require.Equal(t, "ü€", short.Instruction)
}

func TestParsePolicy(t *testing.T) {
	for name, want := range map[string]Policy{"": Allow, "allow": Allow, "truncate": Truncate, "error": Refuse} {
		p, err := ParsePolicy(name)
		require.NoError(t, err)
		require.Equal(t, want, p)
	}
	_, err := ParsePolicy("drop")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
}

// judge scores the continuation of each letter.
type judge func(key int, letter byte) Score

func (j judge) LogLikelihood(_ context.Context, prompts []string, continuations [][]string) ([][]Score, error) {
	all := make([][]Score, len(prompts))
	for i, p := range prompts {
		for _, c := range continuations[i] {
			all[i] = append(all[i], j(keyOf(p), c[len("Answer: The answer is ")]))
		}
	}
	return all, nil
}

func TestRunLikelihood(t *testing.T) {
	b, items := towns(t, 9)
	// The right letter has the best mean; A, of one token only, the best sum.
	sc := judge(func(key int, letter byte) Score {
		switch {
		case letter == byte('A'+key%3):
			return Score{-3, 6}
		case letter == 'A':
			return Score{-2, 1}
		default:
			return Score{-9, 3}
		}
	})
	plain, perToken, err := RunLikelihood(context.Background(), sc, items, b, Options{Split: "test", Batch: 4})
	require.NoError(t, err)
	require.Equal(t, 3, plain.Correct)
	require.Equal(t, 9, perToken.Correct)
	require.Equal(t, ModeLikelihood, plain.Mode)
	require.Equal(t, ModeLikelihoodNormalised, perToken.Mode)
	require.Equal(t, "Answer: The answer is A.", plain.Samples[4].Output)
	require.Equal(t, "B", perToken.Samples[4].Prediction)
	require.Equal(t, []float64{-2, -3, -9}, plain.Samples[4].LogProbs)
	require.Equal(t, plain.PromptSHA256, perToken.PromptSHA256)
}

func TestRunLikelihoodCountsTiesAsNoAnswer(t *testing.T) {
	b, items := towns(t, 6)
	plain, _, err := RunLikelihood(context.Background(), judge(func(int, byte) Score { return Score{-1, 1} }), items, b, Options{Batch: 6})
	require.NoError(t, err)
	require.Zero(t, plain.Correct)
	require.Equal(t, 6, plain.Unparsed)
	leads := judge(func(_ int, letter byte) Score {
		if letter == 'C' {
			return Score{-1, 1}
		}
		return Score{-2, 1}
	})
	plain, _, err = RunLikelihood(context.Background(), leads, items, b, Options{Batch: 6})
	require.NoError(t, err)
	require.Equal(t, 2, plain.Correct, "a tie behind the best is no tie")
	require.Zero(t, plain.Unparsed)
}

func TestRunLikelihoodFails(t *testing.T) {
	b, items := towns(t, 2)
	for _, s := range []Score{{math.NaN(), 1}, {math.Inf(-1), 1}, {-1, 0}} {
		_, _, err := RunLikelihood(context.Background(), judge(func(int, byte) Score { return s }), items, b, Options{Batch: 1})
		require.ErrorContains(t, err, "the score of")
	}
	sums := benchmark.New("sums", benchmark.Number, nil)
	numbers, err := sums.Read("f", strings.NewReader(`{"instruction":"1+1?","output":"The answer is: 2"}`))
	require.NoError(t, err)
	_, _, err = RunLikelihood(context.Background(), judge(func(int, byte) Score { return Score{-1, 1} }), numbers, sums, Options{Batch: 1})
	require.ErrorContains(t, err, "no choices to compare")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
}

func TestWilson(t *testing.T) {
	for _, c := range []struct {
		correct, items int
		low, high      float64
	}{
		{0, 10, 0, 0.27753}, {10, 10, 0.72247, 1}, {5, 10, 0.23659, 0.76341}, {50, 100, 0.40383, 0.59617},
		{81, 263, 0.25529, 0.36621}, {1, 1, 0.20655, 1}, {0, 1, 0, 0.79345},
	} {
		low, high := Wilson(c.correct, c.items)
		require.InDelta(t, c.low, low, 5e-5, "%d of %d", c.correct, c.items)
		require.InDelta(t, c.high, high, 5e-5, "%d of %d", c.correct, c.items)
	}
}

func TestResultJSON(t *testing.T) {
	b, items := towns(t, 10)
	r, err := Run(context.Background(), &writer{answer: mostly}, items, b, Options{Split: "test", Batch: 5, MaxNewTokens: 2})
	require.NoError(t, err)
	data, err := json.Marshal(Report{Engine: "go", Results: []Result{r}})
	require.NoError(t, err)
	var back struct{ Results []map[string]any }
	require.NoError(t, json.Unmarshal(data, &back))
	got := back.Results[0]
	require.Equal(t, "towns", got["benchmark"])
	require.Equal(t, "test", got["split"])
	require.EqualValues(t, 10, got["items"])
	require.EqualValues(t, 8, got["correct"])
	require.EqualValues(t, 2, got["unparsed"])
	require.EqualValues(t, 0, got["over_context"])
	require.InDelta(t, 0.8, got["accuracy"], 1e-12)
	require.Len(t, got["ci95"], 2)
	require.NotContains(t, got, "Samples")
}

func TestWriteSamples(t *testing.T) {
	b, items := towns(t, 10)
	r, err := Run(context.Background(), &writer{answer: func(int) string { return "<b>\nThe answer is A." }}, items, b, Options{Batch: 5, MaxNewTokens: 2})
	require.NoError(t, err)
	dir := t.TempDir()
	path := filepath.Join(dir, "samples.jsonl")
	require.NoError(t, WriteSamples(path, []Result{r, r}))
	f, err := os.Open(path)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); n++ {
		var s Sample
		require.NoError(t, json.Unmarshal(lines.Bytes(), &s))
		require.Equal(t, r.Samples[n%10], s)
		require.Contains(t, lines.Text(), "<b>")
		for _, key := range []string{"benchmark", "index", "prompt", "output", "prediction", "gold", "correct"} {
			require.Contains(t, lines.Text(), `"`+key+`":`)
		}
	}
	require.Equal(t, 20, n)
	require.Error(t, WriteSamples(filepath.Join(dir, "absent", "samples.jsonl"), []Result{r}))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
}

// TestPublishedMajorities checks the baselines against those known for the test splits.
func TestPublishedMajorities(t *testing.T) {
	root := testkit.Shared(t, "benchmarks")
	for name, percent := range map[string]float64{"cola": 69.1, "mrpc": 66.5, "rte": 52.7, "commonsenseqa": 20.9, "openbookqa": 27.6, "scienceqa": 44.4} {
		b, err := benchmark.Find(name)
		require.NoError(t, err)
		items, err := b.Load(root, "test")
		require.NoError(t, err)
		share, _ := majority(items)
		require.InDelta(t, percent, *share*100, 0.05, name)
	}
	b, err := benchmark.Find("gsm8k")
	require.NoError(t, err)
	items, err := b.Load(root, "test")
	require.NoError(t, err)
	share, _ := majority(items)
	require.Nil(t, share)
}
