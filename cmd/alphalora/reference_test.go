package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/engine"
	"alphalora/internal/testkit"
	"alphalora/model"
	"alphalora/model/weights"
	"alphalora/moelora"
	"alphalora/train"
)

// integers reads a whole-number tensor as rows.
func integers(t *testing.T, set *weights.Set, name string) [][]int64 {
	tensor, ok := set.Get(name)
	require.True(t, ok, name)
	flat, err := tensor.Int64s()
	require.NoError(t, err)
	width := tensor.Shape[len(tensor.Shape)-1]
	rows := make([][]int64, len(flat)/width)
	for i := range rows {
		rows[i] = flat[i*width : (i+1)*width]
	}
	return rows
}

func openSet(t *testing.T, parts ...string) *weights.Set {
	set, err := weights.OpenFile(filepath.Join(parts...))
	require.NoError(t, err)
	t.Cleanup(func() { _ = set.Close() })
	return set
}

func writeJSONFile(t *testing.T, v any) string {
	path := filepath.Join(t.TempDir(), "in.json")
	content, err := json.Marshal(v)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, content, 0o644))
	return path
}

func readJSONFile(t *testing.T, path string, into any) {
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, into))
}

// references runs a test on each of the models with numbers of the released code.
func references(t *testing.T, test func(t *testing.T, dir string)) {
	for _, family := range []string{"llama", "mistral", "gemma"} {
		t.Run(family, func(t *testing.T) { test(t, testkit.Shared(t, "reference", family)) })
	}
}

// TestScoreReference holds the released code's logits, router logits and loss through score.
func TestScoreReference(t *testing.T) { references(t, requireScoreReference) }

func requireScoreReference(t *testing.T, dir string) {
	set := openSet(t, dir, "reference.safetensors")
	ids, out := writeJSONFile(t, integers(t, set, "input_ids")), t.TempDir()
	tolerance := 1e-4
	if filepath.Base(dir) == "gemma" {
		tolerance = 1e-3
	}
	for _, c := range []struct{ want, adapter string }{{"base_logits", ""}, {"logits", filepath.Join(dir, "adapter")}} {
		logits, result := filepath.Join(out, c.want+".safetensors"), filepath.Join(out, c.want+".json")
		_, stderr, status := call(t, "score", "--model", dir, "--adapter", c.adapter, "--ids", ids, "--logits", logits, "--json", result)
		require.Zero(t, status, stderr)
		got := openSet(t, logits)
		wanted, _ := set.Get(c.want)
		want, err := wanted.Float32s()
		require.NoError(t, err)
		for row := range 3 {
			tensor, ok := got.Get(fmt.Sprintf("logits.%d", row))
			require.True(t, ok)
			require.Equal(t, []int{24, 320}, tensor.Shape)
			values, err := tensor.Float32s()
			require.NoError(t, err)
			for i, v := range values {
				require.InDelta(t, want[row*len(values)+i], v, tolerance, "%s, row %d, value %d", c.want, row, i)
			}
		}
		if c.adapter == "" {
			continue
		}
		routers := 0
		for _, name := range got.Names() {
			if strings.HasPrefix(name, "router_logits.") {
				routers++
			}
		}
		require.Equal(t, 3*3*7, routers)
		var s scored
		readJSONFile(t, result, &s)
		lossTensor, _ := set.Get("loss")
		loss, err := lossTensor.Float32s()
		require.NoError(t, err)
		labels := integers(t, set, "labels")
		sum, count := 0.0, 0
		for row, list := range labels {
			require.Nil(t, s.Sequences[row].LogProbs[0])
			for i := 1; i < len(list); i++ {
				if list[i] >= 0 {
					sum, count = sum-*s.Sequences[row].LogProbs[i], count+1
				}
			}
		}
		require.InDelta(t, loss[0], sum/float64(count), 1e-4)
		require.InDelta(t, math.Exp(s.Loss), s.Perplexity, 1e-9)
	}
}

// TestGenerateReference holds the released code's greedy tokens through generate, in
// batches of 1 and of 8.
func TestGenerateReference(t *testing.T) { references(t, requireGenerateReference) }

func requireGenerateReference(t *testing.T, dir string) {
	set := openSet(t, dir, "reference.safetensors")
	mask, want := integers(t, set, "padded.attention_mask"), integers(t, set, "padded.greedy")
	prompts := integers(t, set, "padded.input_ids")
	for i, row := range prompts {
		start := 0
		for mask[i][start] == 0 {
			start++
		}
		prompts[i] = row[start:]
	}
	ids := writeJSONFile(t, prompts)
	for _, batch := range []string{"1", "8"} {
		stdout, stderr, status := call(t, "generate", "--model", dir, "--adapter", filepath.Join(dir, "adapter"),
			"--ids", ids, "--max-new-tokens", "12", "--batch", batch, "--json", "-")
		require.Zero(t, status, stderr)
		var g generated
		require.NoError(t, json.Unmarshal([]byte(stdout), &g))
		require.Len(t, g.Outputs, 3)
		for i, o := range g.Outputs {
			got := make([]int64, len(o.IDs))
			for j, id := range o.IDs {
				got[j] = int64(id)
			}
			require.Equal(t, want[i], got, "row %d, batch %s", i, batch)
			require.Equal(t, "length", o.Finish)
		}
	}
}

// TestTrainReference holds 30 steps of the released code through train: tokenised data
// in file order, no dropout, from a given adapter; and the adapter that comes out scores
// as the last step left it.
func TestTrainReference(t *testing.T) { references(t, requireTrainReference) }

func requireTrainReference(t *testing.T, dir string) {
	var curve struct{ Loss, Balance []float64 }
	readJSONFile(t, filepath.Join(dir, "curve.json"), &curve)
	require.Len(t, curve.Loss, 30)
	tmp := t.TempDir()
	var lines strings.Builder
	for _, row := range integers(t, openSet(t, dir, "curve.safetensors"), "input_ids") {
		content, err := json.Marshal(map[string]any{"input_ids": row})
		require.NoError(t, err)
		lines.Write(append(content, '\n'))
	}
	rows := filepath.Join(tmp, "rows.jsonl")
	require.NoError(t, os.WriteFile(rows, []byte(lines.String()), 0o644))
	config := filepath.Join(tmp, "run.yaml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
model: %s
output: %s
adapter: {dropout: 0, balance: 0.001, from: %s}
data: {train: [%s], shuffle: false, group_by_length: false}
training: {steps: 30, batch: 4, micro_batch: 4, learning_rate: 2e-3, warmup_steps: 5, dtype: float32, gradient_checkpointing: false}
`, dir, filepath.Join(tmp, "out"), zeroed(t, dir, tmp), rows), 0o644))
	_, stderr, status := call(t, "train", "--config", config)
	require.Zero(t, status, stderr)

	content, err := os.ReadFile(filepath.Join(tmp, "out", train.MetricsFile))
	require.NoError(t, err)
	steps := strings.Split(strings.TrimSpace(string(content)), "\n")
	require.Len(t, steps, 30)
	for i, line := range steps {
		var m train.Metrics
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		require.Equal(t, i+1, m.Step)
		require.InDelta(t, curve.Loss[i], m.Loss, 2e-3, "step %d", i+1)
		require.InDelta(t, curve.Balance[i], m.BalanceLoss, 2e-3, "step %d", i+1)
	}
	for _, name := range []string{"config.yaml", "allocation.json", "report.html", "adapter/adapter_config.json", "adapter/adapter_model.safetensors"} {
		require.FileExists(t, filepath.Join(tmp, "out", name))
	}
	final, reference := openSet(t, tmp, "out", "adapter", moelora.WeightsFile), openSet(t, dir, "curve.safetensors")
	checked := 0
	for _, name := range reference.Names() {
		if name == "input_ids" {
			continue
		}
		a, _ := reference.Get(name)
		b, ok := final.Get(strings.Replace(name, ".default_", "_", 1))
		require.True(t, ok, name)
		want, err := a.Float32s()
		require.NoError(t, err)
		got, err := b.Float32s()
		require.NoError(t, err)
		for i := range want {
			require.InDelta(t, want[i], got[i], 5e-3, "%s, value %d", name, i)
		}
		checked++
	}
	require.Equal(t, 182, checked)
}

// zeroed writes the reference adapter with every B set to zero.
func zeroed(t *testing.T, dir, tmp string) string {
	eng, err := engine.Open("")
	require.NoError(t, err)
	m, err := model.Load(t.Context(), eng, dir, "float32")
	require.NoError(t, err)
	a, err := moelora.Load(filepath.Join(dir, "adapter"), m, 0)
	require.NoError(t, err)
	a.ZeroB()
	out := filepath.Join(tmp, "zeroed")
	require.NoError(t, a.Save(out, m, 0))
	return out
}
