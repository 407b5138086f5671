package eval

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/eval/benchmark"
	"alphalora/internal/fault"
)

var someRun = map[string]string{"model": "abc", "max-new-tokens": "128"}

func TestRunGoesOnWhereItStopped(t *testing.T) {
	b, items := towns(t, 20)
	path := filepath.Join(t.TempDir(), "samples.jsonl.partial")
	options := Options{Split: "test", Batch: 4, MaxNewTokens: 5}
	whole, err := Run(context.Background(), &writer{answer: mostly}, items, b, options)
	require.NoError(t, err)

	j, err := OpenJournal(path, someRun)
	require.NoError(t, err)
	require.Zero(t, j.Len())
	ctx, cancel := context.WithCancel(context.Background())
	stopped := options
	stopped.Record = j.Append
	stopped.Progress = func(done, _ int) {
		if done == 8 {
			cancel()
		}
	}
	_, err = Run(ctx, &writer{answer: mostly}, items, b, stopped)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, j.Close())
	appendText(t, path, `{"benchmark":"towns","index":3,"prom`) // the process died while it wrote

	j, err = OpenJournal(path, someRun)
	require.NoError(t, err)
	require.Equal(t, 8, j.Len())
	w := &writer{answer: mostly}
	options.Done, options.Record = j.Done(b.Name), j.Append
	resumed, err := Run(context.Background(), w, items, b, options)
	require.NoError(t, err)
	require.Len(t, w.batches, 3, "eight of twenty were there")
	require.Equal(t, 8, resumed.Resumed)
	resumed.Resumed = 0
	require.Equal(t, untimed(whole), untimed(resumed))
	require.NoError(t, j.Close())

	j, err = OpenJournal(path, someRun)
	require.NoError(t, err)
	require.Equal(t, 20, j.Len())
	require.NoError(t, j.Remove())
	require.NoFileExists(t, path)
}

func appendText(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(text)
	require.NoError(t, errors.Join(err, f.Close()))
}

func TestLikelihoodGoesOnWhereItStopped(t *testing.T) {
	b, items := towns(t, 9)
	sc := judge(func(key int, letter byte) Score { return Score{-1 - float64((int(letter)*7+key)%5), 1 + key%3} })
	var kept []Sample
	options := Options{Batch: 3, PerToken: true, Record: func(s []Sample) error { kept = append(kept, s...); return nil }}
	plain, perToken, err := RunLikelihood(context.Background(), sc, items, b, options)
	require.NoError(t, err)
	require.ElementsMatch(t, perToken.Samples, kept)

	options.Done = map[int]Sample{}
	for _, s := range kept[:6] {
		options.Done[s.Index] = s
	}
	again, perTokenAgain, err := RunLikelihood(context.Background(), sc, items, b, options)
	require.NoError(t, err)
	require.Equal(t, plain.Samples, again.Samples)
	require.Equal(t, perToken.Samples, perTokenAgain.Samples)
	require.Equal(t, 6, again.Resumed)

	s := options.Done[kept[0].Index]
	s.LogProbs, s.ChoiceTokens = s.LogProbs[:1], s.ChoiceTokens[:1]
	options.Done[s.Index] = s
	_, _, err = RunLikelihood(context.Background(), sc, items, b, options)
	require.ErrorContains(t, err, "among 1 choices, and has 3")
}

func TestAnotherRunIsRefusedByName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.partial")
	j, err := OpenJournal(path, someRun)
	require.NoError(t, err)
	require.NoError(t, j.Close())
	_, err = OpenJournal(path, map[string]string{"model": "abd", "max-new-tokens": "64", "adapter": "new"})
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	for _, change := range []string{`adapter was "", now "new"`, `max-new-tokens was "128", now "64"`, `model was "abc", now "abd"`} {
		require.ErrorContains(t, err, change)
	}
	_, err = OpenJournal(path, map[string]string{"model": "abc"})
	require.ErrorContains(t, err, `max-new-tokens was "128", now ""`)
}

func TestRunRefusesAnswersToOtherPrompts(t *testing.T) {
	b, items := towns(t, 3)
	for _, s := range []Sample{{Benchmark: b.Name, Index: 1, Prompt: "other", Gold: "B"}, {Benchmark: b.Name, Index: 1, Prompt: items[1].Prompt, Gold: "A"}} {
		_, err := Run(context.Background(), &writer{answer: mostly}, items, b, Options{Batch: 1, MaxNewTokens: 1, Done: map[int]Sample{1: s}})
		require.ErrorContains(t, err, "towns: record 2")
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	}
	full := errors.New("disk full")
	_, err := Run(context.Background(), &writer{answer: mostly}, items, b, Options{Batch: 1, MaxNewTokens: 1, Record: func([]Sample) error { return full }})
	require.ErrorIs(t, err, full)
}

func TestDamagedJournals(t *testing.T) {
	dir := t.TempDir()
	head := `{"run":{"max-new-tokens":"128","model":"abc"}}` + "\n"
	for text, why := range map[string]string{
		"hello\n":                                        "is not the journal",
		`{"benchmark":"towns"}` + "\n":                   "is not the journal",
		head + "nonsense\n":                              "line 2 is not a sample",
		head + `{"index":1}` + "\n":                      "line 2 is not a sample",
		head + `{"benchmark":"towns","index":-1}` + "\n": "line 2 is not a sample",
		head + `{"benchmark":"towns","index":1,"logprobs":[1]}` + "\n": "line 2 is not a sample",
	} {
		path := filepath.Join(dir, "x.partial")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		_, err := OpenJournal(path, someRun)
		require.ErrorContains(t, err, why, text)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
		left, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, string(left), "what is refused stays as it is")
	}
	_, err := OpenJournal(dir, someRun)
	require.ErrorContains(t, err, "not a file")
	_, err = OpenJournal(filepath.Join(dir, "absent", "x"), someRun)
	require.ErrorContains(t, err, "cannot be opened")
}

func FuzzJournal(f *testing.F) {
	head := `{"run":{"max-new-tokens":"128","model":"abc"}}` + "\n"
	for _, s := range []string{"", "{", head, head + `{"benchmark":"towns","index":1,"prompt":"p"}` + "\n", head + `{"benchmark":"t","index":1,"logprobs":[-1],"choice_tokens":[2]}` + "\n{", head + "\n\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "x.partial")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		j, err := OpenJournal(path, someRun)
		if err != nil {
			require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
			return
		}
		before := j.Len()
		require.NoError(t, j.Append([]Sample{{Benchmark: "new one", Index: 1 << 40}}))
		require.NoError(t, j.Close())
		j, err = OpenJournal(path, someRun)
		require.NoError(t, err)
		_, was := j.Done("new one")[1<<40]
		require.True(t, was)
		require.LessOrEqual(t, j.Len(), before+1)
		require.NoError(t, j.Close())
	})
}

func FuzzGraded(f *testing.F) {
	for _, s := range []string{"", `{"results":[{"benchmark":"a","items":2,"correct":1,"outcomes":"cw"}]}`, `{"results":[]}`, `{"benchmark":"a","index":0,"prompt":"p","correct":true}` + "\n" + `{"benchmark":"a","index":1,"prompt":"q"}`, "[]", `{"results":[]}{}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := readGraded(strings.NewReader(text))
		if err != nil {
			return
		}
		require.NotEmpty(t, list)
		for _, g := range list {
			c, err := Compare(g, g)
			require.NoError(t, err)
			require.Zero(t, c.OnlyA+c.OnlyB)
			require.False(t, c.Significant)
		}
	})
}

func TestReadGraded(t *testing.T) {
	b, items := towns(t, 10)
	r, err := Run(context.Background(), &writer{answer: mostly}, items, b, Options{Split: "test", Batch: 5, MaxNewTokens: 2})
	require.NoError(t, err)
	require.Equal(t, "ccccuccccu", r.Outcomes)
	require.Equal(t, []int{4, 9}, r.UnparsedItems)
	path := filepath.Join(t.TempDir(), "samples.jsonl")
	require.NoError(t, WriteSamples(path, []Result{r}))
	list, err := ReadGraded(path)
	require.NoError(t, err)
	require.Equal(t, []Graded{{b.Name, benchmark.PromptHash(items), r.Outcomes}}, list)

	for text, why := range map[string]string{
		"":    "not JSON of an evaluation",
		"{}":  "neither a report nor a sample",
		"[1]": "not JSON of an evaluation",
		`{"results":[{"benchmark":"a","items":2,"correct":1}]}`:                 "which of its 2 items",
		`{"results":[{"benchmark":"a","items":2,"correct":2,"outcomes":"cw"}]}`: "which of its 2 items",
		`{"results":[{"benchmark":"a","items":2,"correct":1,"outcomes":"cx"}]}`: "which of its 2 items",
		`{"results":[]}`:    "holds no result",
		`{"results":[]} {}`: "holds no result",
		`{"benchmark":"a","index":1,"prompt":"p"}{"benchmark":"a","index":1,"prompt":"p"}`:                                            "record 2 has the index 1",
		`{"results":[{"benchmark":"a","items":1,"correct":1,"outcomes":"c"},{"benchmark":"a","items":1,"correct":1,"outcomes":"c"}]}`: "two results of a",
		`{"results":[{"benchmark":"a","items":1,"correct":1,"outcomes":"c"}]} {}`:                                                     "goes on after the report",
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		_, err := ReadGraded(path)
		require.ErrorContains(t, err, why, text)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	}
	_, err = ReadGraded(filepath.Join(t.TempDir(), "absent"))
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
}

// TestMcNemar has probabilities that a hand can add up: binomial coefficients over 2ⁿ.
func TestMcNemar(t *testing.T) {
	for _, c := range []struct {
		a, b int
		p    float64
	}{
		{0, 0, 1}, {1, 1, 1}, {0, 1, 1}, {0, 5, 2.0 / 32}, {0, 6, 2.0 / 64}, {1, 9, 2.0 * 11 / 1024}, {9, 1, 2.0 * 11 / 1024},
		{2, 8, 2.0 * 56 / 1024}, {3, 3, 1},
	} {
		require.InDelta(t, c.p, McNemar(c.a, c.b), 1e-12, "%d, %d", c.a, c.b)
	}
	require.InDelta(t, math.Erfc((100-1)/math.Sqrt(2*2000)), McNemar(950, 1050), 2e-3, "many are near the normal distribution")
	require.Positive(t, McNemar(0, 900))
}

func TestPairedInterval(t *testing.T) {
	low, high := PairedInterval(10, 10, 100)
	require.InDelta(t, -low, high, 1e-12)
	low, high = PairedInterval(0, 0, 50)
	require.InDelta(t, -low, high, 1e-12)
	require.Positive(t, high, "no discordant item is no certainty")
	low, _ = PairedInterval(40, 5, 200)
	require.Positive(t, low)
	low, high = PairedInterval(1, 0, 1)
	require.GreaterOrEqual(t, low, -1.0)
	require.LessOrEqual(t, high, 1.0)
}

func TestCompare(t *testing.T) {
	outcomes := func(both, a, b, none int) (Graded, Graded) {
		return Graded{"t", "h", strings.Repeat("c", both+a) + strings.Repeat("w", b) + strings.Repeat("u", none)},
			Graded{"t", "h", strings.Repeat("c", both) + strings.Repeat("w", a) + strings.Repeat("c", b) + strings.Repeat("w", none)}
	}
	x, y := outcomes(50, 3, 17, 30)
	c, err := Compare(x, y)
	require.NoError(t, err)
	require.Equal(t, []int{100, 50, 3, 17, 30, 53, 67}, []int{c.Items, c.Both, c.OnlyA, c.OnlyB, c.Neither, c.A.Correct, c.B.Correct})
	require.InDelta(t, 0.14, c.Difference, 1e-12)
	require.True(t, c.Significant)
	require.Contains(t, c.Verdict, "B is better")
	require.Positive(t, c.CI95[0])
	back, err := Compare(y, x)
	require.NoError(t, err)
	require.Contains(t, back.Verdict, "A is better")
	require.InDelta(t, c.P, back.P, 1e-15)
	for want, of := range map[string][4]int{"No difference is shown: were both": {50, 4, 8, 38}, "each got 4 items right": {50, 4, 4, 42}, "There is no difference": {50, 0, 0, 50}} {
		x, y := outcomes(of[0], of[1], of[2], of[3])
		c, err := Compare(x, y)
		require.NoError(t, err)
		require.False(t, c.Significant)
		require.Contains(t, c.Verdict, want)
	}
	all := Pool([]Comparison{c, c})
	require.Equal(t, 200, all.Items)
	require.Less(t, all.P, c.P)

	y.PromptSHA256 = "other"
	_, err = Compare(x, y)
	require.ErrorContains(t, err, "other prompts")
	y.Outcomes += "c"
	_, err = Compare(x, y)
	require.ErrorContains(t, err, "100 and of 101 items")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
}

func TestParseMode(t *testing.T) {
	for name, want := range map[string]Mode{"": ModeGeneration, "generation": ModeGeneration, "likelihood": ModeLikelihood, "likelihood-normalised": ModeLikelihoodNormalised} {
		m, err := ParseMode(name)
		require.NoError(t, err)
		require.Equal(t, want, m)
	}
	_, err := ParseMode("guess")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
}
