package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alphalora/alphalora"
	"alphalora/configs"
	"alphalora/eval"
	"alphalora/train"
)

// sweepFiles writes a configuration of two short steps on the small model, and two benchmarks
// of its own: colours, which the data teach, and moods, which they do not.
func sweepFiles(t *testing.T) (config, output string, args []string) {
	tmp := t.TempDir()
	write := func(path, content string) string {
		path = filepath.Join(tmp, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
		return path
	}
	records := func(question string, labels ...string) string {
		var list []string
		for i, label := range labels {
			list = append(list, fmt.Sprintf(`{"instruction":"%s %d","output":"Answer: %s."}`, question, i, label))
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	write("tasks/colours/benchmark.json", `{"format":"label","labels":["red","blue"]}`)
	write("tasks/colours/test.json", records("Which colour?", "red", "blue", "blue"))
	write("tasks/moods/benchmark.json", `{"format":"label","labels":["glad","sad"]}`)
	write("tasks/moods/test.json", records("Which mood?", "glad", "sad"))
	taught := write("tasks/colours/train.json", records("Colour", "red", "blue", "red", "blue"))
	output = filepath.Join(tmp, "out")
	config = write("sweep.yaml", fmt.Sprintf("model: %s\noutput: %s\nadapter: {r: 2, dropout: 0}\ndata: {train: [%s], cutoff: 64}\n"+
		"training: {steps: 2, batch: 2, micro_batch: 2, warmup_steps: 0, dtype: float32, checkpoint_every: 1, gradient_checkpointing: false}\n", base(t), output, taught))
	return config, output, []string{"sweep", "--config", config, "--backend", "go", "--data", filepath.Join(tmp, "tasks"),
		"--benchmark", "colours,moods", "--zero-shot", "moods", "--max-new-tokens", "4"}
}

func sweptIn(t *testing.T, output string) (r swept) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(readFile(t, filepath.Join(output, "sweep.json"))), &r))
	return r
}

// TestSweepGoesOn kills a sweep in its first run and stops it in a later one. The call that
// ends it leaves finished runs as they are, trains what is equal once, and refuses whatever
// would not belong to them.
func TestSweepGoesOn(t *testing.T) {
	config, output, args := sweepFiles(t)
	args = append(args, "--strategies", "alphalora,uniform,mola-5555,lora", "--metrics", "alpha,entropy", "--experts", "20", "--seeds", "1,2")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := program(ctx, args...)
	require.NoError(t, cmd.Start())
	begun := func() bool {
		found, err := filepath.Glob(filepath.Join(output, "runs", "*", "checkpoints", "step-000001"))
		require.NoError(t, err)
		return len(found) > 0
	}
	for !begun() && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	_ = cmd.Process.Kill()
	require.Error(t, cmd.Wait())

	stopping, stop := context.WithCancel(t.Context())
	out := &stopper{at: "cell 5 of 10", cancel: stop}
	require.ErrorIs(t, run(stopping, newApp(out, out), args), context.Canceled)
	require.Contains(t, out.String(), "resume: from ")
	require.Contains(t, out.String(), "4 of 10 cells are done, the same call goes on from there")
	require.Len(t, sweptIn(t, output).Cells, 4)
	finished, err := filepath.Glob(filepath.Join(output, "runs", "*", "eval.json"))
	require.NoError(t, err)
	require.Len(t, finished, 2, "entropy is even here, so uniform and mola-5555 are its run")
	before := modified(t, finished)

	stdout, _ := done(t, append(args, "--json", "-")...)
	require.Equal(t, before, modified(t, finished))
	var r swept
	require.NoError(t, json.Unmarshal([]byte(stdout), &r))
	require.Len(t, r.Cells, 10)
	require.Len(t, r.Groups, 5)
	runs := map[string]int{}
	for _, c := range r.Cells {
		runs[c.Run]++
	}
	require.Len(t, runs, 6)
	require.Equal(t, 3, runs[filepath.Join(output, "runs", "moe-lora-r2-5-5-5-5-seed-2")])
	require.Equal(t, 1, runs[filepath.Join(output, "runs", "lora-r10-1-1-1-1-seed-1")])
	checkFiles(t, output, runs)
	checkArithmetic(t, r)
	goesOnOnlyAsBegun(t, config, output, args)
}

func modified(t *testing.T, paths []string) (all []time.Time) {
	for _, path := range paths {
		info, err := os.Stat(path)
		require.NoError(t, err)
		all = append(all, info.ModTime())
	}
	return all
}

// checkFiles holds that a run is one of train, and the sweep's own files.
func checkFiles(t *testing.T, output string, runs map[string]int) {
	for dir := range runs {
		for _, name := range []string{configFile, "allocation.json", train.MetricsFile, "report.html", "adapter/adapter_config.json", "eval.json", "samples.jsonl"} {
			require.FileExists(t, filepath.Join(dir, name))
		}
	}
	require.FileExists(t, filepath.Join(output, "spectrum.json"))
	for _, name := range []string{"figure-2-alpha", "figure-3-experts", "figure-3-accuracy", "figure-4-metrics"} {
		require.Contains(t, readFile(t, filepath.Join(output, "charts", name+".svg")), "<svg", name)
	}
	require.NoFileExists(t, filepath.Join(output, "charts", "figure-5-budgets.svg"), "there is one budget")
	require.Contains(t, readFile(t, filepath.Join(output, "sweep.html")), "those of alphalora by entropy")
	require.Equal(t, 1+2*10, strings.Count(readFile(t, filepath.Join(output, "sweep.csv")), "\n"))
}

// checkArithmetic computes a group and a comparison from the runs' own files.
func checkArithmetic(t *testing.T, r swept) {
	accuracy := func(name string, seed int) float64 {
		graded, err := eval.ReadGraded(filepath.Join(r.Output, "runs", fmt.Sprintf("%s-seed-%d", name, seed), "eval.json"))
		require.NoError(t, err)
		require.Equal(t, "colours", graded[0].Benchmark)
		return float64(strings.Count(graded[0].Outcomes, "c")) / 3
	}
	g := r.Groups[0]
	require.Equal(t, "alphalora", g.Strategy)
	name := "moe-lora-r2-" + strings.ReplaceAll(joined(g.Allocation), " ", "-")
	require.InDelta(t, (accuracy(name, 1)+accuracy(name, 2))/2, g.Accuracy.Mean, 1e-12)
	require.Equal(t, 6, g.Pooled.Items, "three items of two seeds; moods are apart")
	require.NotNil(t, g.ZeroShot)
	require.Equal(t, "alphalora by entropy", r.Groups[2].SharedWith)
	require.Len(t, r.Comparisons, 8, "four groups, on both kinds of benchmarks")
	for _, c := range r.Comparisons {
		require.Equal(t, []int64{1, 2}, c.Seeds)
		require.False(t, c.SameRuns)
		if c.Against == "uniform" && c.On == onTaught {
			require.InDelta(t, g.Accuracy.Mean-r.Groups[2].Accuracy.Mean, c.Difference.Mean, 1e-12)
			require.InDelta(t, c.Difference.Mean, c.Pooled.Difference, 1e-12)
		}
	}
}

// goesOnOnlyAsBegun adds cells, and is refused with anything else changed.
func goesOnOnlyAsBegun(t *testing.T, config, output string, args []string) {
	with := func(more ...string) []string { return append(args[:len(args):len(args)], more...) }
	refused(t, "training.steps was 2, now 3", with("--set", "training.steps=3")...)
	refused(t, `max-new-tokens was "4", now "5"`, with("--max-new-tokens", "5")...)
	refused(t, `zero-shot was "moods", now ""`, without(args, "--zero-shot")...)
	lock, err := train.NewLock(output)
	require.NoError(t, err)
	refused(t, "another run writes it", args...)
	lock.Release()

	tasks := filepath.Join(filepath.Dir(config), "tasks")
	original := readFile(t, filepath.Join(tasks, "colours", "train.json"))
	edit(t, filepath.Join(tasks, "colours", "train.json"), replaced("red", "blue"))
	refused(t, filepath.Join(tasks, "colours", "train.json")+" was", args...)
	edit(t, filepath.Join(tasks, "colours", "train.json"), func([]byte) []byte { return []byte(original) })
	edit(t, filepath.Join(tasks, "moods", "test.json"), replaced("mood", "temper"))
	refused(t, "data of moods was", args...)
	edit(t, filepath.Join(tasks, "moods", "test.json"), replaced("temper", "mood"))

	earlier := without(without(args, "--seeds"), "--strategies")
	stopping, stop := context.WithCancel(t.Context())
	out := &stopper{at: "cell 11 of 11: lora with 20 experts", cancel: stop}
	require.ErrorIs(t, run(stopping, newApp(out, out), append(earlier, "--seeds", "3", "--strategies", "lora")), context.Canceled)
	done(t, append(earlier, "--seeds", "3", "--strategies", "uniform")...)
	r := sweptIn(t, output)
	require.Len(t, r.Cells, 11)
	require.Equal(t, 12, r.Planned, "what an earlier call left is not this one's to run")
	require.Equal(t, []int64{1, 2, 3}, r.Groups[2].Seeds)
	edit(t, filepath.Join(r.Cells[0].Run, "eval.json"), func(b []byte) []byte { return b[:len(b)/2] })
	refused(t, "eval.json: record 1 is not JSON", args...)
	edit(t, filepath.Join(output, planFile), func(b []byte) []byte { return b[:len(b)/2] })
	refused(t, "is not the plan of a sweep", args...)
}

// without is a call without one of its flags and that flag's value.
func without(args []string, flag string) []string {
	at := slices.Index(args, flag)
	return append(append([]string{}, args[:at]...), args[at+2:]...)
}

func TestWrongSweepsAreRefused(t *testing.T) {
	config, output, args := sweepFiles(t)
	with := func(more ...string) []string { // what more names goes before what is the rule
		call := append([]string{}, args...)
		for flag, value := range map[string]string{"--strategies": "alphalora", "--experts": "8", "--seeds": "1"} {
			call = append(call, flag, value)
		}
		if slices.Contains(call, more[0]) {
			call = without(call, more[0])
		}
		return append(call, more...)
	}
	for why, call := range map[string][]string{
		`--strategies: strategy "alphaloar": unknown strategy (did you mean alphalora?`: with("--strategies", "alphaloar"),
		"a list of counts has one total only":                                           with("--strategies", "manual"),
		`is no number of experts`:                                                       with("--strategies", "mola-x"),
		"--strategies: uniform: comes twice":                                            with("--strategies", "uniform,uniform"),
		"--seeds: the list: is empty":                                                   without(with("--batch", "8"), "--seeds"),
		"--experts: the list: is empty":                                                 without(with("--batch", "8"), "--experts"),
		"--seeds: 4: comes twice":                                                       with("--seeds", "4,4"),
		"experts 3: fewer than the 4 layers":                                            with("--experts", "3"),
		"--experts: 0: must be from 1":                                                  with("--experts", "0"),
		`--metrics: metric "alhpa": unknown metric (did`:                                with("--metrics", "alhpa"),
		"--zero-shot cola: is not evaluated":                                            with("--zero-shot", "cola"),
		"--zero-shot: names every benchmark":                                            with("--zero-shot", "moods,colours"),
		`benchmark "hues": is none of the ten`:                                          with("--benchmark", "hues,moods"),
		"adapter.kind lora has one expert a layer":                                      with("--set", "adapter.kind=lora"),
		"adapter.from has its own experts":                                              with("--set", "adapter.from=x"),
		"have no place in a sweep":                                                      with("--set", "allocation.spectrum=x"),
		"5 groups for 4 layers":                                                         with("--strategies", "mola-12345"),
		"config.json":                                                                   with("--set", "model="+t.TempDir()),
	} {
		refused(t, why, call...)
		require.NoDirExists(t, output)
	}
	require.NoError(t, os.MkdirAll(output, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(output, configFile), []byte("model: x"), 0o644))
	refused(t, "holds a run of train", with("--batch", "8")...)
	require.FileExists(t, config)
}

// TestSweptTable holds the sums of a table against figures by hand.
func TestSweptTable(t *testing.T) {
	at := func(strategy string, seed int64, first, second string) sweptCell {
		c := sweptCell{cell: cell{Strategy: strategy, Experts: 8, Seed: seed}, Run: fmt.Sprint(strategy, seed)}
		c.graded = []eval.Graded{{Benchmark: "a", Outcomes: first}, {Benchmark: "b", Outcomes: second}}
		if strategy == "uniform" { // calls may name benchmarks in another order
			slices.Reverse(c.graded)
		}
		for _, g := range c.graded {
			c.Scores = append(c.Scores, sweptScore{g.Benchmark, len(g.Outcomes), strings.Count(g.Outcomes, "c")})
		}
		c.Accuracy = c.mean([]string{"a", "b"})
		return c
	}
	r := swept{Cells: []sweptCell{ // accuracies 3/4, 1/2 against 1/4, 3/8
		at("alphalora", 1, "cc", "ccww"), at("uniform", 1, "ww", "wcwc"),
		at("alphalora", 2, "cw", "cwuc"), at("uniform", 2, "cw", "cwww"), at("uniform", 3, "cc", "cccc")}}
	r.group()
	require.NoError(t, r.compare())
	require.Len(t, r.Groups, 2)
	require.InDelta(t, 0.625, r.Groups[0].Accuracy.Mean, 1e-12)
	require.InDelta(t, 0.17677669529663687, *r.Groups[0].Accuracy.SD, 1e-12) // 1/4 over √2
	require.Equal(t, 12, r.Groups[0].Pooled.Items)
	require.Equal(t, 7, r.Groups[0].Pooled.Correct)
	require.InDelta(t, (0.25+0.375+1)/3, r.Groups[1].Accuracy.Mean, 1e-12)
	require.Len(t, r.Comparisons, 1)
	c := r.Comparisons[0]
	require.Equal(t, []int64{1, 2}, c.Seeds, "the third has no pair")
	require.Equal(t, []float64{0.5, 0.125}, c.Difference.Values)
	require.Equal(t, []int{12, 4, 1}, []int{c.Pooled.Items, c.Pooled.OnlyB, c.Pooled.OnlyA})
	require.Contains(t, c.Verdict, "no difference is shown: +31.25 points")
	var out bytes.Buffer
	require.NoError(t, r.print(&out))
	require.Contains(t, out.String(), "62.50  17.68  -96.33 to 221.33     12     58.33")
}

func TestRunNamesOfManyLayersAreShort(t *testing.T) {
	many := make([]int, 200)
	one := runName(configs.Defaults(), many)
	many[7]++
	require.NotEqual(t, one, runName(configs.Defaults(), many))
	require.Less(t, len(one), 60)
}

func FuzzPlan(f *testing.F) {
	for _, seed := range []string{`{"format_version":1,"config":"","made_from":{},"cells":[{"strategy":"lora","experts":8,"seed":1}]}`,
		`{"format_version":1,"cells":[{"strategy":"mola-24","experts":9,"seed":-1},{"strategy":"alphalora","metric":"alpha","experts":9,"seed":1}]}`, "{", "[]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		p, err := parsePlan(content)
		if err != nil {
			return
		}
		for _, c := range p.Cells {
			require.NoError(t, checkStrategy(c.Strategy))
			require.LessOrEqual(t, c.Experts, alphalora.MaxExperts)
		}
	})
}
