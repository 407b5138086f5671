package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/internal/seedling"
)

func TestServeRefuses(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(empty, []byte(" \n"), 0o600))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	for why, args := range map[string][]string{
		"--queue 0":             {"--queue", "0"},
		"--batch 0":             {"--batch", "0"},
		"--grace 0s":            {"--grace", "0s"},
		"does not hold one key": {"--api-key-file", empty},
		"no such file":          {"--api-key-file", filepath.Join(dir, "absent")},
		"cannot be listened on": {"--addr", taken.Addr().String()},
		"--addr nowhere":        {"--addr", "nowhere"},
		"--model: is missing":   {"--addr", "127.0.0.1:0"},
	} {
		_, stderr, status := call(t, append([]string{"serve"}, args...)...)
		require.Equal(t, fault.StatusBad, status, why)
		require.Contains(t, stderr, why)
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	}
}

// TestServeAsAProcess: the log tells the address, requests are answered, and a signal ends
// the server in order. An address that strangers reach is warned of.
func TestServeAsAProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "base")
	require.NoError(t, seedling.WriteBase(dir))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	server := program(ctx, "serve", "--backend", engine.Go, "--model", dir, "--addr", "0.0.0.0:0", "--batch", "2")
	stderr, err := server.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	lines := bufio.NewScanner(stderr)
	require.True(t, lines.Scan())
	require.Contains(t, lines.Text(), "engine: go")
	type entry struct{ Level, Msg, Addr, Path string }
	var log []entry
	read := func() entry {
		require.True(t, lines.Scan())
		var e entry
		require.NoError(t, json.Unmarshal(lines.Bytes(), &e), lines.Text())
		log = append(log, e)
		return e
	}
	require.Equal(t, "WARN", read().Level, "anybody can reach it")
	listening := read()
	require.Equal(t, "listening", listening.Msg)
	_, port, err := net.SplitHostPort(listening.Addr)
	require.NoError(t, err)
	answer, err := http.Post(fmt.Sprintf("http://127.0.0.1:%s/v1/completions", port), "application/json", strings.NewReader(`{"model":"base","prompt":"Is a","max_tokens":3}`))
	require.NoError(t, err)
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	_ = answer.Body.Close()
	require.Equal(t, 200, answer.StatusCode, "%s", body)
	require.Contains(t, string(body), `"completion_tokens":3`)
	require.Equal(t, "/v1/completions", read().Path)
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	require.Equal(t, "stopping", read().Msg)
	require.True(t, lines.Scan())
	require.Contains(t, lines.Text(), "alphalora: stopped by a signal")
	require.Error(t, server.Wait())
	require.Equal(t, 143, server.ProcessState.ExitCode())
}
