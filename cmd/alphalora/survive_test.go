package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/internal/testkit"
	"alphalora/model"
	"alphalora/model/weights"
	"alphalora/moelora"
	"alphalora/train"
)

// onGo is the call of a tiny run on the pure-Go engine, which starts at once.
func onGo(config string, more ...string) []string {
	return append([]string{"train", "--config", config, "--backend", engine.Go}, more...)
}

// TestDryRunLooksAtAResume tells what would be resumed, refuses what the run would refuse, and
// changes nothing.
func TestDryRunLooksAtAResume(t *testing.T) {
	config, output := tinyRun(t, 3)
	refused(t, "there is no run to go on with", onGo(config, "--dry-run", "--resume")...)
	_, stderr, status := call(t, onGo(config)...)
	require.Zero(t, status, stderr)
	before := tree(t, output)

	_, stderr, status = call(t, onGo(config, "--dry-run", "--resume-from", "step-000002", "--set", "training.keep_checkpoints=1")...)
	require.Zero(t, status, stderr)
	require.Contains(t, stderr, "resume: from "+filepath.Join(output, "checkpoints", "step-000002")+", after step 2")
	require.Contains(t, stderr, "resume: training.keep_checkpoints was 2, now 1")
	_, stderr, status = call(t, onGo(config, "--dry-run")...)
	require.Zero(t, status, stderr)
	require.Contains(t, stderr, "warning: without --dry-run: output "+output+": holds a run already")

	refused(t, "training.seed was 42, now 7", onGo(config, "--dry-run", "--resume", "--set", "training.seed=7")...)
	refused(t, "no such checkpoint", onGo(config, "--dry-run", "--resume-from", "step-000009")...)
	refused(t, "contradicts --resume", onGo(config, "--dry-run", "--resume", "--overwrite")...)
	lock, err := train.NewLock(output)
	require.NoError(t, err)
	refused(t, "another run writes it", onGo(config, "--dry-run", "--resume")...)
	lock.Release()
	metrics := filepath.Join(output, train.MetricsFile)
	content, err := os.ReadFile(metrics)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(metrics, content[:bytes.IndexByte(content, '\n')+1], 0o644))
	refused(t, "has fewer lines than the checkpoint has steps", onGo(config, "--dry-run", "--resume")...)
	require.NoError(t, os.WriteFile(metrics, content, 0o644))
	require.Equal(t, before, tree(t, output), "nothing has changed")

	edit(t, filepath.Join(filepath.Dir(config), "rows.jsonl"), func(b []byte) []byte { return append(b, "{\"input_ids\":[3,4,5]}\n"...) })
	refused(t, "rows.jsonl: has changed since", onGo(config, "--dry-run", "--resume")...)
}

// tree is the content of every file below a directory.
func tree(t *testing.T, dir string) map[string]string {
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		files[path] = string(content)
		return err
	}))
	require.NotEmpty(t, files)
	return files
}

// TestInputsInsideOfTheOutputAreRefused would lose them otherwise.
func TestInputsInsideOfTheOutputAreRefused(t *testing.T) {
	config, output := tinyRun(t, 2)
	_, stderr, status := call(t, onGo(config)...)
	require.Zero(t, status, stderr)
	before := tree(t, output)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(filepath.Join(output, "adapter"), link))
	for why, sets := range map[string][]string{
		"adapter.from " + filepath.Join(output, "adapter"):                           {"adapter.from=" + filepath.Join(output, "adapter")},
		"adapter.from " + filepath.Join(output, "checkpoints"):                       {"adapter.from=" + filepath.Join(output, "checkpoints", "step-000002")},
		"adapter.from " + link:                                                       {"adapter.from=" + link},
		"data.train " + filepath.Join(output, "metrics.jsonl"):                       {"data.train=[" + filepath.Join(output, "metrics.jsonl") + "]"},
		"model " + filepath.Join(output, "adapter"):                                  {"model=" + filepath.Join(output, "adapter")},
		"allocation.spectrum " + filepath.Join(output, "allocation.json") + ": lies": {"allocation.spectrum=" + filepath.Join(output, "allocation.json")},
	} {
		for _, more := range []string{"--overwrite", "--dry-run"} {
			args := onGo(config, "--overwrite", "--set", sets[0])
			if more == "--dry-run" {
				args = append(args, more)
			}
			if strings.HasPrefix(why, "adapter.from") { // an allocation beside it is an error of its own
				edit(t, config, func(b []byte) []byte {
					return bytes.ReplaceAll(b, []byte("allocation: {strategy: manual, per_layer: [1, 3, 2], experts: 6}\n"), nil)
				})
			}
			refused(t, why, args...)
		}
	}
	require.Equal(t, before, tree(t, output))
}

// TestBestIsThatOfTheResumedSteps goes back behind the best step and stops before it comes
// again: best/ then holds what was best up to there.
func TestBestIsThatOfTheResumedSteps(t *testing.T) {
	config, output := tinyRun(t, 8)
	held := filepath.Join(filepath.Dir(config), "held.jsonl")
	require.NoError(t, os.WriteFile(held, []byte("{\"input_ids\":[3,9,20,31,5]}\n{\"input_ids\":[7,8,9,10]}\n"), 0o644))
	sets := []string{"--set", "data.validation=[" + held + "]", "--set", "training.validate_every=2", "--set", "training.schedule=constant",
		"--set", "training.warmup_steps=0", "--set", "training.keep_checkpoints=9"}
	best := filepath.Join(output, bestDir, moelora.WeightsFile)
	_, stderr, status := call(t, onGo(config, append(sets, "--set", "training.steps=3")...)...)
	require.Zero(t, status, stderr)
	atThree, err := os.ReadFile(best)
	require.NoError(t, err)
	_, stderr, status = call(t, onGo(config, append(sets, "--resume", "--set", "training.steps=8")...)...)
	require.Zero(t, status, stderr)
	atEight, err := os.ReadFile(best)
	require.NoError(t, err)
	require.NotEqual(t, atThree, atEight, "it learns")

	back := func(from string, steps int) {
		_, stderr, status = call(t, onGo(config, append(sets, "--resume-from", from, "--set", fmt.Sprintf("training.steps=%d", steps))...)...)
		require.Zero(t, status, stderr)
	}
	back("step-000003", 3)
	got, err := os.ReadFile(best)
	require.NoError(t, err)
	require.Equal(t, atThree, got)
	back("step-000001", 1)
	require.NoFileExists(t, best, "nothing had been judged")
}

// overflowing writes a copy of a model with a weight so large that what it makes is no number.
func overflowing(t *testing.T, from, name string) string {
	dir := t.TempDir()
	set, err := weights.Open(from)
	require.NoError(t, err)
	defer func() { _ = set.Close() }()
	var list []weights.Tensor
	for _, n := range set.Names() {
		tensor, _ := set.Get(n)
		if n == name {
			values, err := tensor.Float32s()
			require.NoError(t, err)
			for i := range values {
				values[i] = 3e38
			}
			tensor, err = weights.FromFloat32s(n, tensor.Shape, values, tensor.DType)
			require.NoError(t, err)
		}
		list = append(list, tensor)
	}
	require.NoError(t, weights.Write(filepath.Join(dir, "model.safetensors"), list, nil))
	config, err := os.ReadFile(filepath.Join(from, "config.json"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644))
	return dir
}

// fails holds that a run ends with status 1 and returns the line that says why.
func fails(t *testing.T, args ...string) string {
	t.Helper()
	_, stderr, status := call(t, args...)
	require.Equal(t, fault.StatusFailed, status, stderr)
	require.NotContains(t, stderr, "goroutine")
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "alphalora:") {
			return line
		}
	}
	t.Fatal(stderr)
	return ""
}

// TestNumbersThatAreNotFiniteEndARun, through the command line: in the forward pass, in the
// gradients alone, and in their norm alone.
func TestNumbersThatAreNotFiniteEndARun(t *testing.T) {
	config, output := tinyRun(t, 5)
	model := filepath.Join(testkit.Root(t), "model", "testdata", "goldens", "tinyllama")

	poisoned := overflowing(t, model, "model.layers.1.mlp.up_proj.weight")
	line := fails(t, onGo(config, "--set", "model="+poisoned)...)
	require.Regexp(t, `step 1: loss NaN.*not finite first in layer 1, the base's output of up_proj, with .*rows\.jsonl:\d+`, line)

	wild := []string{"--set", "training.learning_rate=1e30", "--set", "training.schedule=constant", "--set", "training.warmup_steps=0"}
	_, stderr, status := call(t, onGo(config, append(wild, "--overwrite", "--set", "training.steps=1")...)...)
	require.Zero(t, status, stderr)
	line = fails(t, onGo(config, append(wild, "--resume")...)...)
	checkpoint := filepath.Join(output, "checkpoints", "step-000001")
	require.Regexp(t, `step 2: loss .*not finite first in (layer 0|.*gradient).*rows\.jsonl:\d+.*`+checkpoint, line)
	again := fails(t, onGo(config, append(wild, "--resume")...)...)
	require.Equal(t, line, again, "the checkpoint is whole, and the same comes of it")

	edit(t, config, func(b []byte) []byte {
		return bytes.ReplaceAll(b, []byte("allocation: {strategy: manual, per_layer: [1, 3, 2], experts: 6}\n"), nil)
	})
	for _, c := range []struct {
		b    float32
		want string
	}{
		{3e38, `step 1: loss [0-9.]+, gradient norm .*not finite first in the gradient of .*rows\.jsonl:\d+`},
		{1e25, `step 1: loss [0-9.]+, gradient norm \+Inf: not finite first in the sum of all gradients, which are finite, the largest .*e\+\d+ in that of .*`},
	} {
		from := steep(t, model, c.b)
		out := filepath.Join(t.TempDir(), "out")
		line = fails(t, onGo(config, "--set", "output="+out, "--set", "adapter.from="+from, "--set", "adapter.dropout=0")...)
		require.Regexp(t, c.want, line)
		require.NoFileExists(t, filepath.Join(out, "adapter", moelora.WeightsFile))
	}
}

// steep writes an adapter that adds nothing, A being zero, with B so large that the gradients
// of A are.
func steep(t *testing.T, dir string, b float32) string {
	eng, err := engine.Open(engine.Go)
	require.NoError(t, err)
	m, err := model.Load(t.Context(), eng, dir, "float32")
	require.NoError(t, err)
	experts := []int{1, 1, 1}
	a, err := moelora.New(m, moelora.Shape{Kind: moelora.MoELoRA, Rank: 2, Alpha: 4, Experts: experts, TopK: experts, Targets: model.Sites()}, 1)
	require.NoError(t, err)
	out := filepath.Join(t.TempDir(), "steep")
	require.NoError(t, a.Save(out, m, 0))
	path := filepath.Join(out, moelora.WeightsFile)
	set, err := weights.OpenFile(path)
	require.NoError(t, err)
	defer func() { _ = set.Close() }()
	var list []weights.Tensor
	changed := 0
	for _, n := range set.Names() {
		tensor, _ := set.Get(n)
		values := make([]float32, tensor.Count())
		if strings.Contains(n, "layers.1.") && strings.Contains(n, "lora_B") {
			changed++
			for i := range values {
				values[i] = b
			}
		}
		tensor, err = weights.FromFloat32s(n, tensor.Shape, values, tensor.DType)
		require.NoError(t, err)
		list = append(list, tensor)
	}
	require.Equal(t, 7, changed)
	require.NoError(t, weights.Write(path, list, set.Metadata()))
	return out
}

// TestOutputsThatCannotBeWritten: a directory that never could, and one that no longer can.
func TestOutputsThatCannotBeWritten(t *testing.T) {
	config, output := tinyRun(t, 2000)
	refused(t, "output /proc/self/nowhere", onGo(config, "--set", "output=/proc/self/nowhere")...)
	closed := filepath.Join(t.TempDir(), "closed")
	require.NoError(t, os.Mkdir(closed, 0o555))
	stderr, status := bounded(t, "ALPHALORA_TEST_POWERLESS=1", nil, onGo(config, "--set", "output="+closed)...)
	require.Equal(t, fault.StatusBad, status, stderr)
	require.Contains(t, stderr, "permission denied")

	checkpoints := filepath.Join(output, "checkpoints")
	defer func() { _ = os.Chmod(checkpoints, 0o755) }()
	stderr, status = bounded(t, "ALPHALORA_TEST_POWERLESS=1", func() { _ = os.Chmod(checkpoints, 0o555) }, onGo(config)...)
	require.Equal(t, fault.StatusFailed, status, stderr)
	require.Contains(t, stderr, "permission denied")
	require.NoError(t, os.Chmod(checkpoints, 0o755))
	requireGoesOn(t, config, output)
}

// TestTheDiskIsFull: no file may grow beyond what the state of a checkpoint takes.
func TestTheDiskIsFull(t *testing.T) {
	config, output := tinyRun(t, 2000)
	stderr, status := bounded(t, "ALPHALORA_TEST_FILE_LIMIT=20000", nil, onGo(config)...)
	require.Equal(t, fault.StatusFailed, status, stderr)
	require.Contains(t, stderr, "file too large")
	left, err := filepath.Glob(filepath.Join(output, "checkpoints", "*"))
	require.NoError(t, err)
	require.Empty(t, left, "nothing half-written")
	_, said, status := call(t, onGo(config, "--resume", "--dry-run")...)
	require.Zero(t, status, said)
	require.Contains(t, said, "holds no checkpoint yet")
}

// bounded runs the program with a limit; after its first steps something may happen to it.
func bounded(t *testing.T, limit string, happens func(), args ...string) (stderr string, status int) {
	var said bytes.Buffer
	cmd := program(t.Context(), args...)
	cmd.Env = append(cmd.Env, limit)
	cmd.Stderr = &said
	require.NoError(t, cmd.Start())
	if happens != nil {
		output := ""
		for i, arg := range args {
			if arg == "--config" {
				output = filepath.Join(filepath.Dir(args[i+1]), "out")
			}
		}
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if _, err := os.Stat(filepath.Join(output, "checkpoints", "step-000002")); err == nil {
				break
			}
		}
		happens()
	}
	_ = cmd.Wait()
	return said.String(), cmd.ProcessState.ExitCode()
}

// requireGoesOn holds that a run that failed is whole, and one step longer when it goes on.
func requireGoesOn(t *testing.T, config, output string) {
	newest, err := train.Checkpoints{Dir: filepath.Join(output, "checkpoints")}.Choose()
	require.NoError(t, err)
	_, stderr, status := call(t, onGo(config, "--resume", "--dry-run")...)
	require.Zero(t, status, stderr)
	require.Contains(t, stderr, fmt.Sprintf("after step %d", newest.Step))
}

// TestDataThatVanish in the middle of a run are no longer needed; a run that goes on needs them
// as they were, whatever their names and times.
func TestDataThatVanish(t *testing.T) {
	config, output := tinyRun(t, 30)
	rows := filepath.Join(filepath.Dir(config), "rows.jsonl")
	stderr, status := bounded(t, "X=", func() { _ = os.Rename(rows, rows+".away") }, onGo(config)...)
	require.Zero(t, status, stderr)
	require.Len(t, timeless(t, output), 30)
	again := onGo(config, "--resume-from", "step-000029")
	refused(t, "rows.jsonl: cannot be read: no such file", again...)
	require.NoError(t, os.Rename(rows+".away", rows))
	require.NoError(t, os.Chtimes(rows, time.Unix(1, 0), time.Unix(1, 0)))
	_, stderr, status = call(t, again...)
	require.Zero(t, status, stderr)
	edit(t, rows, func(b []byte) []byte { b[bytes.IndexByte(b, '[')+1] ^= 1; return b })
	refused(t, "rows.jsonl: has changed since", onGo(config, "--resume")...)
}

// TestDurationsAreMonotonic holds that what measures time keeps the reading that no change of
// the clock touches.
func TestDurationsAreMonotonic(t *testing.T) {
	a := newApp(&bytes.Buffer{}, &bytes.Buffer{})
	p := a.progress(3, "x")
	p.Add(1, "")
	w := &watcher{due: time.Now().Add(pageEvery)}
	checked := 0
	for _, at := range []time.Time{p.begun, p.told, p.warm, w.due} {
		require.Contains(t, at.String(), " m=", "a time without a monotonic reading")
		checked++
	}
	require.Equal(t, 4, checked)
	var times train.Times
	times.Add(train.Span{Name: train.SpanData, Step: 1, Begun: time.Now(), Took: time.Millisecond})
	require.Zero(t, times.Total)
}

// TestTrace reads what --trace writes: every step's spans, which do not overlap.
func TestTrace(t *testing.T) {
	config, _ := tinyRun(t, 4)
	path := filepath.Join(t.TempDir(), "trace.json")
	_, stderr, status := call(t, onGo(config, "--trace", path)...)
	require.Zero(t, status, stderr)
	var events []struct {
		Name    string
		Ph      string
		Ts, Dur float64
		Args    struct{ Step int }
	}
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, &events))
	seen, end := map[string]int{}, 0.0
	for _, e := range events {
		if e.Ph != "X" || e.Name == train.SpanCompile {
			continue
		}
		seen[e.Name]++
		require.GreaterOrEqual(t, e.Ts, end-1e-3, "%s of step %d", e.Name, e.Args.Step)
		end = e.Ts + e.Dur
	}
	require.Equal(t, map[string]int{train.SpanData: 4, train.SpanAccumulate: 8, train.SpanAwait: 4, train.SpanApply: 4,
		train.SpanMetrics: 4, train.SpanWatch: 4, train.SpanCheckpoint: 4}, seen)
	refused(t, "--trace", onGo(config, "--overwrite", "--trace", t.TempDir())...)
}

// limited makes a process smaller than its user: for tests of what fails under one.
func limited() {
	if os.Getenv("ALPHALORA_TEST_POWERLESS") != "" { // root, too, is then held to permissions
		_ = os.Unsetenv("ALPHALORA_TEST_POWERLESS")
		_ = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_DAC_OVERRIDE, 0, 0, 0)
		if err := syscall.Exec("/proc/self/exe", os.Args, os.Environ()); err != nil {
			panic(err)
		}
	}
	if text := os.Getenv("ALPHALORA_TEST_FILE_LIMIT"); text != "" {
		var most uint64
		if _, err := fmt.Sscan(text, &most); err != nil {
			panic(err)
		}
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			panic(err)
		}
	}
}
