package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"alphalora/internal/fault"
)

// call runs one command line and returns what it wrote and its exit status.
func call(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	ctx := context.Background()
	err := run(ctx, newApp(&out, &errs), args)
	status = complain(ctx, &errs, err)
	return out.String(), errs.String(), status
}

func TestWrongCallsAreOneLineAndStatusTwo(t *testing.T) {
	for want, args := range map[string][]string{
		`alphalora: verb "doctro": there is no such verb (did you mean doctor? see alphalora --help)`: {"doctro"},
		`alphalora: verb "frobnicate": there is no such verb (see alphalora --help)`:                  {"frobnicate"},
		`alphalora: alphalora: unknown flag: --nope (see alphalora --help)`:                           {"--nope"},
		`alphalora: alphalora doctor: unknown flag: --nope (see alphalora doctor --help)`:             {"doctor", "--nope"},
		`alphalora: alphalora version: flag needs an argument: --json (see alphalora version --help)`: {"version", "--json"},
	} {
		stdout, stderr, status := call(t, args...)
		require.Equal(t, want+"\n", stderr)
		require.Empty(t, stdout)
		require.Equal(t, fault.StatusBad, status)
	}
}

func TestUnwritableResultIsRefusedBeforeTheWork(t *testing.T) {
	dir := t.TempDir()
	for why, path := range map[string]string{
		"no such file or directory": filepath.Join(dir, "absent", "x.json"),
		"is a directory":            dir,
	} {
		stdout, stderr, status := call(t, "version", "--json", path)
		require.Contains(t, stderr, why)
		require.Contains(t, stderr, "--json "+path)
		require.Empty(t, stdout)
		require.Equal(t, fault.StatusBad, status)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestEveryVerbHasHelpWithAnExample(t *testing.T) {
	seen := 0
	for _, cmd := range rootCommand(newApp(nil, nil)).Commands() {
		if cmd.Name() == "help" {
			continue
		}
		seen++
		require.NotEmpty(t, cmd.Short, cmd.Name())
		require.Contains(t, cmd.Example, "alphalora "+cmd.Name(), cmd.Name())
		stdout, _, status := call(t, cmd.Name(), "--help")
		require.Contains(t, stdout, "Examples:", cmd.Name())
		require.Zero(t, status)
	}
	require.Equal(t, len(verbs)+1, seen, "completion and every verb")
}

func TestVersionJSONGoesToAFileOrToStandardOutputAlone(t *testing.T) {
	stdout, stderr, status := call(t, "version", "--json", "-")
	require.Zero(t, status)
	var b build
	require.NoError(t, json.Unmarshal([]byte(stdout), &b))
	require.True(t, strings.HasPrefix(b.Go, "go1."))
	require.Contains(t, stderr, "alphalora ")

	path := filepath.Join(t.TempDir(), "v.json")
	stdout, stderr, status = call(t, "version", "--json", path)
	require.Zero(t, status)
	require.Empty(t, stderr)
	require.Contains(t, stdout, "alphalora ")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &b))
}

func TestDoctorTellsEveryEngine(t *testing.T) {
	stdout, _, status := call(t, "doctor", "--backend", "go", "--json", "-")
	require.Zero(t, status)
	var d diagnosis
	require.NoError(t, json.Unmarshal([]byte(stdout), &d))
	require.Equal(t, "go", d.Default)
	require.Len(t, d.Engines, 3)
	for _, e := range d.Engines {
		require.NotEqual(t, e.Works, e.Missing != "", "%s either works or says why not", e.Name)
	}
	require.True(t, d.Engines[2].Works)
	require.Positive(t, d.CPUs)

	_, stderr, status := call(t, "doctor", "--backend", "tpu")
	require.Equal(t, fault.StatusBad, status)
	require.Contains(t, stderr, `--backend "tpu": is not an engine`)
}

func TestReadMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meminfo")
	require.NoError(t, os.WriteFile(path, []byte("MemTotal:  1024 kB\nMemFree: 1 kB\nshort\nMemAvailable: x kB\nMemAvailable: 512 kB\n"), 0o644))
	require.Equal(t, memory{Total: 1 << 20, Available: 1 << 19}, readMemory(path))
	require.Equal(t, memory{}, readMemory(path+".absent"))
}

func TestReport(t *testing.T) {
	ctx := context.Background()
	bad := fault.Input("a.yaml: key lr", "use learning_rate", "is unknown")
	for _, c := range []struct {
		err    error
		status int
		want   string
	}{
		{nil, 0, ""},
		{errors.New("disk:\n\tfull"), 1, "alphalora: disk: full\n"},
		{fmt.Errorf("while reading: %w", bad), 2, "alphalora: while reading: a.yaml: key lr: is unknown (use learning_rate)\n"},
		{errors.Join(bad, errors.Join(errors.New("two"), errors.New("three"))), 2,
			"alphalora: a.yaml: key lr: is unknown (use learning_rate)\nalphalora: two\nalphalora: three\n"},
	} {
		var out bytes.Buffer
		require.Equal(t, c.status, complain(ctx, &out, c.err))
		require.Equal(t, c.want, out.String())
	}
	for signal, status := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		stopped, cancel := context.WithCancelCause(ctx)
		cancel(interrupted{signal})
		var out bytes.Buffer
		require.Equal(t, status, complain(stopped, &out, stopped.Err()))
		require.Equal(t, 1, strings.Count(out.String(), "\n"))
	}
}

// waitVerb works until it is stopped.
func waitVerb(a *app) *cobra.Command {
	return &cobra.Command{Use: "wait", RunE: func(cmd *cobra.Command, _ []string) error {
		a.say("waiting")
		<-cmd.Context().Done()
		return cmd.Context().Err()
	}}
}

// TestMain lets this test binary stand for the program in tests that need a process.
func TestMain(m *testing.M) {
	limited()
	if args := os.Getenv("ALPHALORA_TEST_ARGS"); args != "" {
		os.Args = append([]string{"alphalora"}, strings.Split(args, "\n")...)
		main()
	}
	if os.Getenv("ALPHALORA_TEST_WAIT") != "" {
		verbs = append(verbs, waitVerb)
		os.Args = []string{"alphalora", "wait"}
		main()
	}
	cache, err := os.MkdirTemp("", "alphalora-cache-")
	if err != nil {
		panic(err)
	}
	if err := os.Setenv("XDG_CACHE_HOME", cache); err != nil { // the user's own is not for tests
		panic(err)
	}
	status := m.Run()
	_ = os.RemoveAll(cache)
	os.Exit(status)
}

func TestSignals(t *testing.T) {
	for signal, status := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		program := exec.CommandContext(ctx, os.Args[0])
		program.Env = append(os.Environ(), "ALPHALORA_TEST_WAIT=1")
		stderr, err := program.StderrPipe()
		require.NoError(t, err)
		require.NoError(t, program.Start())
		first := make([]byte, len("waiting\n"))
		_, err = stderr.Read(first)
		require.NoError(t, err)
		require.NoError(t, program.Process.Signal(signal))
		rest := new(bytes.Buffer)
		_, err = rest.ReadFrom(stderr)
		require.NoError(t, err)
		require.Error(t, program.Wait())
		require.Equal(t, status, program.ProcessState.ExitCode())
		require.Equal(t, 1, strings.Count(rest.String(), "\n"), rest.String())
		cancel()
	}
}

func TestProgressIsPlainLinesWithoutATerminal(t *testing.T) {
	var stdout, stderr bytes.Buffer
	p := newApp(&stdout, &stderr).progress(100, "training")
	for range 50 {
		p.Add(1, "loss 2.5")
	}
	require.Empty(t, stderr.String(), "too soon for a line")
	p.told = p.told.Add(-2 * plainEvery)
	p.Add(1, "loss 2.4")
	p.Add(49, "loss 2.3")
	p.Done()
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	require.Len(t, lines, 2)
	require.Contains(t, lines[0], "training: loss 2.4 51/100")
	require.Contains(t, lines[1], "training: loss 2.3 100/100")
	require.Empty(t, stdout.String())
}
