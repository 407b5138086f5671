package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alphalora/configs"
	"alphalora/configs/recipes"
	"alphalora/internal/seedling"
	"alphalora/internal/testkit"
	"alphalora/train"
)

// TestTraceIsBoundedAndKeepsTheExtremes puts a million steps with one peak into a trace.
func TestTraceIsBoundedAndKeepsTheExtremes(t *testing.T) {
	const steps, peak = 1_000_000, 654_321
	var tr trace
	for step := 1; step <= steps; step++ {
		v := float64(step % 7)
		if step == peak {
			v = 1000
		}
		tr.add(step, v)
	}
	require.LessOrEqual(t, len(tr.spans), maxSpans)
	require.Greater(t, len(tr.spans), maxSpans/3)
	count, high, next := 0, math.Inf(-1), 1
	for _, s := range tr.spans {
		require.Equal(t, next, s.first, "spans follow each other")
		require.GreaterOrEqual(t, s.mean(), s.low)
		require.LessOrEqual(t, s.mean(), s.high)
		count, high, next = count+s.count, max(high, s.high), s.first+s.count
	}
	require.Equal(t, steps, count)
	require.Equal(t, 1000.0, high)
}

// TestTraceOfAShortRunIsEveryStep holds that nothing is thinned before it must be.
func TestTraceOfAShortRunIsEveryStep(t *testing.T) {
	var tr trace
	for step := 1; step <= maxSpans; step++ {
		tr.add(step, float64(step))
	}
	s := tr.series("x", false)
	require.Len(t, s.Y, maxSpans)
	require.Equal(t, s.X, s.Y)
	tr.add(maxSpans+1, 0)
	require.Less(t, len(tr.spans), maxSpans)
}

func TestScalarsTakeWhatIsThere(t *testing.T) {
	got := scalars(map[string]any{"step": 4.0, "loss": 2.5, "balance_layers": []any{1.0, 2.0}, "tokens": 300.0, "seconds": 2.0,
		"validation_accuracy": 0.5, "bad": math.Inf(1), "note": "text", "absent": nil})
	require.Equal(t, map[string]float64{"loss": 2.5, "balance_layers/layer_00": 1, "balance_layers/layer_01": 2, "tokens": 300, "seconds": 2,
		"tokens_per_second": 150, "validation_accuracy": 0.5}, got)
}

// long are the curves of a run of many steps, layers and validations. The layers come with
// every 16th step: they have as many spans, and the test more time.
func long(steps, layers int) *curves {
	c := newCurves()
	for step := 1; step <= steps; step++ {
		values := map[string]float64{}
		wave := math.Sin(float64(step)*1.7) + 3
		for _, name := range []string{"loss", "grad_norm", "tokens_per_second", "learning_rate"} {
			values[name] = wave
		}
		if step%100 == 0 {
			values["validation_loss"], values["validation_accuracy"] = wave, wave/4
		}
		for layer := range layers {
			if step%16 == 1 {
				values[layerTag("balance_layers", layer)] = wave + float64(layer)
			}
		}
		c.add(step, values)
	}
	return c
}

// TestPageOfAMillionStepsIsSmall draws a run of the length and depth that the page must bear.
func TestPageOfAMillionStepsIsSmall(t *testing.T) {
	r := &prepared{Run: configs.Run{Model: "m", Output: t.TempDir()}, steps: 1_000_000}
	require.NoError(t, r.writePage(long(1_000_000, 32), pageState{phase: running, left: time.Hour, at: time.Unix(0, 0)}))
	info, err := os.Stat(filepath.Join(r.Output, "report.html"))
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(1<<20))
	t.Logf("%d bytes", info.Size())
}

// TestPageRefreshesOnlyWhileTheRunGoes reads the page of each phase.
func TestPageRefreshesOnlyWhileTheRunGoes(t *testing.T) {
	r := &prepared{Run: configs.Run{Model: "m", Output: t.TempDir()}, steps: 9}
	for _, p := range []phase{running, finished, stopped} {
		require.NoError(t, r.writePage(long(5, 2), pageState{phase: p, why: "disk <full>", left: time.Minute, at: time.Unix(0, 0)}))
		page, err := os.ReadFile(filepath.Join(r.Output, "report.html"))
		require.NoError(t, err)
		require.Equal(t, p == running, strings.Contains(string(page), `http-equiv="refresh"`), p)
		require.Equal(t, p == running, strings.Contains(string(page), "Time left"), p)
		require.Contains(t, string(page), "5 of 9")
		require.Contains(t, string(page), "disk &lt;full&gt;")
	}
}

// TestWatchingNeverStopsTheTraining puts a file where TensorBoard's directory must be: it is
// told once, and the steps go on.
func TestWatchingNeverStopsTheTraining(t *testing.T) {
	r := &prepared{Run: configs.Run{Model: "m", Output: t.TempDir()}, steps: 3}
	require.NoError(t, os.WriteFile(filepath.Join(r.Output, "tensorboard"), nil, 0o600))
	var stderr bytes.Buffer
	w := newApp(nil, &stderr).watch(r)
	for step := 1; step <= 3; step++ {
		w.step(train.Metrics{Step: step, Loss: 1, Tokens: 5, Seconds: 1})
	}
	require.NoError(t, w.end(t.Context(), nil))
	require.Equal(t, 1, strings.Count(stderr.String(), "warning: TensorBoard: "), stderr.String())
	require.FileExists(t, filepath.Join(r.Output, "report.html"))
}

func TestOneTimeLeft(t *testing.T) {
	for want, d := range map[string]time.Duration{"0s": 0, "8s": 8400 * time.Millisecond, "12m 3s": 723 * time.Second,
		"5h 10m": 5*time.Hour + 10*time.Minute, "3d 4h": 76 * time.Hour} {
		require.Equal(t, want, longTime(d))
	}
	var out bytes.Buffer
	p := newApp(nil, &out).progress(10, "train")
	p.From(4)
	p.Add(1, "loss 1")
	require.Zero(t, p.left(), "one step, which compiles, tells nothing")
	p.warm = p.warm.Add(-8 * time.Second)
	p.Add(2, "loss 1")
	require.InDelta(t, 12, p.left().Seconds(), 0.5, "2 in 8 seconds, 3 are left")
	p.line()
	require.Equal(t, 1, strings.Count(out.String(), "left"))
	require.Contains(t, out.String(), "7/10")
}

// seedlingRun prepares a short run of the shipped model in a directory of its own.
func seedlingRun(t testing.TB, a *app, sets ...string) *prepared {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, seedling.WriteBase(filepath.Join(dir, "base")))
	require.NoError(t, writeRecords(filepath.Join(dir, "train.json"), seedling.NewWorld().Tasks()[0].Train))
	recipe, err := recipes.Named("seedling")
	require.NoError(t, err)
	run, err := recipe.Run()
	require.NoError(t, err)
	yaml, err := run.YAML()
	require.NoError(t, err)
	run, err = configs.Parse("test", yaml, append([]string{"model=" + dir + "/base", "output=" + dir + "/run",
		"data.train=[" + dir + "/train.json]", "allocation.strategy=uniform"}, sets...))
	require.NoError(t, err)
	r, err := a.prepare(context.Background(), run)
	require.NoError(t, err)
	t.Cleanup(r.close)
	return r
}

// TestTensorBoardReadsARunThatWasResumed trains to the end, goes on from a checkpoint before
// it, and compares what TensorBoard finds with metrics.jsonl: each step once.
func TestTensorBoardReadsARunThatWasResumed(t *testing.T) {
	testkit.TensorBoard(t, t.TempDir()) // skips at once where there is none
	var stderr bytes.Buffer
	a := newApp(&stderr, &stderr)
	defer a.close()
	sets := []string{"training.steps=6", "training.batch=4", "training.micro_batch=4", "training.warmup_steps=0",
		"training.checkpoint_every=2", "adapter.z_loss=1e-3"}
	r := seedlingRun(t, a, sets...)
	first, _, err := a.trainIn(t.Context(), r.Run, entering{}, io.Discard)
	require.NoError(t, err, stderr.String())
	first.close()
	again, seen, err := a.trainIn(t.Context(), r.Run, entering{resume: true, from: "step-000004"}, io.Discard)
	require.NoError(t, err, stderr.String())
	defer again.close()
	require.Equal(t, 6, seen.traces["loss"].spans[5].first, "the page shows the steps before the resume too")

	files, err := filepath.Glob(filepath.Join(r.Output, "tensorboard", "*"))
	require.NoError(t, err)
	require.Len(t, files, 2)
	want := map[string][]testkit.Point{}
	content, err := os.ReadFile(filepath.Join(r.Output, train.MetricsFile))
	require.NoError(t, err)
	for line := range strings.Lines(string(content)) {
		var row map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &row))
		for tag, v := range scalars(row) {
			want[tag] = append(want[tag], testkit.Point{Step: int(row["step"].(float64)), Value: float64(float32(v))})
		}
	}
	require.Contains(t, want, "balance_layers/layer_03")
	require.Contains(t, want, "z_layers/layer_03")
	got := testkit.TensorBoard(t, filepath.Join(r.Output, "tensorboard"))
	for _, tag := range []string{"seconds", "tokens_per_second"} { // steps 5 and 6 were timed twice
		require.Len(t, got[tag], 6)
	}
	require.Equal(t, want, got)
}

// BenchmarkWatching trains 200 steps of the shipped model with and without a watcher, in
// turns, and tells what watching itself took of the time of the steps.
//
//	go test ./cmd/alphalora -run - -bench Watching -benchtime 1x
func BenchmarkWatching(b *testing.B) {
	a := newApp(os.Stderr, os.Stderr)
	defer a.close()
	var all, spent [2]time.Duration
	for i := range 2 * b.N {
		watched := i % 2
		r := seedlingRun(b, a, "training.steps=200", "training.checkpoint_every=0")
		require.NoError(b, os.MkdirAll(r.Output, 0o755))
		w := a.watch(r)
		var begun time.Time // the first step compiles
		require.NoError(b, a.run(context.Background(), r, &place{}, func(m train.Metrics) {
			start := time.Now()
			if begun.IsZero() {
				begun = start
			}
			if watched == 1 {
				w.step(m)
			}
			spent[watched] += time.Since(start)
		}, nil))
		start := time.Now()
		if watched == 1 {
			require.NoError(b, w.end(context.Background(), nil))
		}
		spent[watched] += time.Since(start)
		all[watched] += time.Since(begun)
	}
	for i, name := range []string{"unwatched", "watched"} {
		b.ReportMetric(all[i].Seconds()*1000/float64(199*b.N), fmt.Sprintf("ms/step-%s", name))
	}
	b.ReportMetric(100*spent[1].Seconds()/all[1].Seconds(), "%-spent-watching")
}
