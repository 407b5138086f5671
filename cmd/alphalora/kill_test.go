package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alphalora/internal/engine"
	"alphalora/internal/testkit"
	"alphalora/train"
)

// kills is how often the run of TestKilledRunsEndAsUnbrokenOnes is killed, unless
// ALPHALORA_KILLS says otherwise.
const kills = 25

// killBackend is the engine of the killed runs: the pure-Go one, which starts at once, unless
// ALPHALORA_KILL_BACKEND says otherwise.
func killBackend() string {
	if name := os.Getenv("ALPHALORA_KILL_BACKEND"); name != "" {
		return name
	}
	return engine.Go
}

// program is this test binary in the place of the program, as a process of its own.
func program(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "ALPHALORA_TEST_ARGS="+strings.Join(args, "\n"), "GLIBC_TUNABLES=glibc.malloc.hugetlb=0")
	return cmd
}

// tinyRun writes the configuration of a run of many short steps, each with a checkpoint,
// on a random model of the repository and tokenised records.
func tinyRun(t *testing.T, steps int) (config, output string) {
	tmp := t.TempDir()
	var rows bytes.Buffer
	for i := range 24 {
		ids := make([]string, 8+i%9)
		for j := range ids {
			ids[j] = strconv.Itoa(3 + (i*7+j*j+3*j)%60)
		}
		_, _ = fmt.Fprintf(&rows, "{\"input_ids\":[%s]}\n", strings.Join(ids, ","))
	}
	records, config, output := filepath.Join(tmp, "rows.jsonl"), filepath.Join(tmp, "run.yaml"), filepath.Join(tmp, "out")
	require.NoError(t, os.WriteFile(records, rows.Bytes(), 0o644))
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
model: %s
output: %s
adapter: {r: 2, dropout: 0.1, balance: 0.01}
allocation: {strategy: manual, per_layer: [1, 3, 2], experts: 6}
data: {train: [%s]}
training: {steps: %d, batch: 4, micro_batch: 2, warmup_steps: 2, learning_rate: 1e-2, dtype: float32, gradient_checkpointing: false, checkpoint_every: 1, keep_checkpoints: 2}
`, filepath.Join(testkit.Root(t), "model", "testdata", "goldens", "tinyllama"), output, records, steps), 0o644))
	return config, output
}

// timeless reads the metrics of a run without the seconds, which no two runs share.
func timeless(t *testing.T, output string) []train.Metrics {
	all, err := train.ReadMetrics(output)
	require.NoError(t, err)
	for i := range all {
		all[i].Seconds = 0
	}
	return all
}

// TestKilledRunsEndAsUnbrokenOnes kills a run at random moments, its start and its saving
// included, goes on each time, and holds the adapter's bytes and the metrics against those
// of a run that nobody disturbed.
func TestKilledRunsEndAsUnbrokenOnes(t *testing.T) {
	wanted := kills
	if n, err := strconv.Atoi(os.Getenv("ALPHALORA_KILLS")); err == nil {
		wanted = n
	}
	const perKill = 5 // steps that a run has for each of its deaths
	config, output := tinyRun(t, perKill*wanted)
	straight := filepath.Join(t.TempDir(), "straight")
	out, err := program(t.Context(), "train", "--config", config, "--backend", killBackend(), "--set", "output="+straight).CombinedOutput()
	require.NoError(t, err, string(out))

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	temporary := 0
	for i := range wanted {
		killAtRandom(t, rng, config, output, i%5 == 0)
		left, err := filepath.Glob(filepath.Join(output, "checkpoints", ".*"))
		require.NoError(t, err)
		temporary += len(left)
	}
	t.Logf("%d kills, %d of them while a checkpoint was written or dropped", wanted, temporary)
	out, err = program(t.Context(), resumed(config, output)...).CombinedOutput()
	require.NoError(t, err, string(out))

	require.Equal(t, timeless(t, straight), timeless(t, output))
	checked := 0
	for _, name := range []string{"adapter/adapter_model.safetensors", fmt.Sprintf("checkpoints/step-%06d/state.safetensors", perKill*wanted)} {
		want, err := os.ReadFile(filepath.Join(straight, name))
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(output, name))
		require.NoError(t, err)
		require.Equal(t, want, got, "%s, bit for bit", name)
		checked++
	}
	require.Equal(t, 2, checked)
	left, err := filepath.Glob(filepath.Join(output, "*", ".*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// resumed is the call that goes on with a run, or begins it where it was killed before it
// had written anything.
func resumed(config, output string) []string {
	args := []string{"train", "--config", config, "--backend", killBackend()}
	if _, err := os.Stat(filepath.Join(output, configFile)); err == nil {
		args = append(args, "--resume")
	}
	return args
}

// killAtRandom starts or goes on with a run and kills it: while it starts, or some
// thousandths of a second after it began to take steps.
func killAtRandom(t *testing.T, rng *rand.Rand, config, output string, starting bool) {
	var said bytes.Buffer
	cmd := program(t.Context(), resumed(config, output)...)
	cmd.Stdout, cmd.Stderr = &said, &said
	before := metricsBytes(output)
	require.NoError(t, cmd.Start())
	if starting {
		time.Sleep(time.Duration(rng.Int64N(int64(time.Second))))
	} else {
		for deadline := time.Now().Add(time.Minute); metricsBytes(output) == before && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(rng.Int64N(int64(100 * time.Millisecond))))
	}
	_ = cmd.Process.Kill() // it may have ended
	_ = cmd.Wait()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, status.Signaled() && status.Signal() == syscall.SIGKILL, "the run ended before it was killed: %s", said.String())
}

// metricsBytes is the size of a run's metrics.
func metricsBytes(output string) int64 {
	info, err := os.Stat(filepath.Join(output, train.MetricsFile))
	if err != nil {
		return 0
	}
	return info.Size()
}

// TestSignalsKeepACheckpoint stops a run by each signal; it goes on where it was.
func TestSignalsKeepACheckpoint(t *testing.T) {
	config, output := tinyRun(t, 4000)
	args := []string{"train", "--config", config, "--set", "training.checkpoint_every=3000", "--set", "training.schedule=constant"}
	for _, c := range []struct {
		signal syscall.Signal
		status int
	}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 143}} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		var stderr bytes.Buffer
		cmd := program(ctx, args...)
		cmd.Stderr = &stderr
		before := metricsBytes(output)
		require.NoError(t, cmd.Start())
		for metricsBytes(output) == before && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond)
		require.NoError(t, cmd.Process.Signal(c.signal))
		require.Error(t, cmd.Wait())
		require.Equal(t, c.status, cmd.ProcessState.ExitCode(), stderr.String())
		checkpoints := train.Checkpoints{Dir: filepath.Join(output, "checkpoints")}
		newest, err := checkpoints.Choose()
		require.NoError(t, err)
		require.Contains(t, stderr.String(), fmt.Sprintf("after step %d; %s is whole (go on with --resume)", newest.Step, newest.Dir))
		require.Len(t, timeless(t, output), newest.Step)
		args = append(args, "--resume")
	}
	all := timeless(t, output)
	for i, m := range all {
		require.Equal(t, i+1, m.Step)
	}
	var content map[string]any
	readJSONFile(t, filepath.Join(output, "checkpoints", fmt.Sprintf("step-%06d", len(all)), "checkpoint.json"), &content)
	for _, key := range []string{"step", "seed", "data_cursor", "next_learning_rate", "engine", "origin"} {
		require.Contains(t, content, key)
	}
}
