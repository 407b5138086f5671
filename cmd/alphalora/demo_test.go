package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/seedling"
)

// TestDemo does the whole job with few items and few steps: it holds that every part
// runs and that the figures belong together, not how high they are.
func TestDemo(t *testing.T) {
	out := filepath.Join(t.TempDir(), "demo")
	stdout, stderr, status := call(t, "demo", "--out", out, "--items", "4", "--steps", "2", "--json", "-")
	require.Zero(t, status, stderr)
	var keys map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(stdout), &keys))
	for _, key := range []string{"engine", "experts", "tasks", "before", "after", "seconds"} {
		require.Contains(t, keys, key)
	}
	var result demonstrated
	require.NoError(t, json.Unmarshal([]byte(stdout), &result))
	total := 0
	for _, e := range result.Experts {
		total += e
	}
	require.Equal(t, 5*len(result.Experts), total, "five experts a layer on average")
	tasks := seedling.NewWorld().Tasks()
	require.Len(t, result.Tasks, len(tasks))
	before, after, impossible := 0.0, 0.0, 0
	for i, task := range result.Tasks {
		require.Equal(t, tasks[i].Name, task.Name)
		require.Equal(t, 4, task.Items)
		require.Equal(t, max(task.Generated, task.Likeliest), task.Before)
		before, after = before+task.Before, after+task.After
		if !task.Learnable {
			impossible++
		}
	}
	require.InDelta(t, before/float64(len(tasks)), result.Before, 1e-9)
	require.InDelta(t, after/float64(len(tasks)), result.After, 1e-9)
	require.Equal(t, 1, impossible, "one task is kept that the base cannot learn")
	for _, name := range []string{"report.html", "base-samples.jsonl", "tuned-samples.jsonl", "run/metrics.jsonl", "run/adapter/adapter_config.json", "run/spectrum.json"} {
		info, err := os.Stat(filepath.Join(out, name))
		require.NoError(t, err)
		require.Positive(t, info.Size(), name)
	}
}
