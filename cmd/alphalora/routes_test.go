package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/engine"
	"alphalora/internal/testkit"
	"alphalora/model"
	"alphalora/moelora"
)

// usageOf is a projection of a result.
func usageOf(t *testing.T, r routed, layer int, site string) moelora.Usage {
	at := slices.IndexFunc(r.Projections, func(u moelora.Usage) bool { return u.Layer == layer && u.Site == site })
	require.GreaterOrEqual(t, at, 0, "%d.%s", layer, site)
	return r.Projections[at]
}

// TestRoutesReference counts, with loops, the router logits that score writes.
func TestRoutesReference(t *testing.T) { references(t, requireRoutesReference) }

func requireRoutesReference(t *testing.T, dir string) {
	sequences := integers(t, openSet(t, dir, "reference.safetensors"), "input_ids")
	sequences = append(sequences, sequences[0][:9], sequences[1][:3]) // padding
	tmp, adapter := t.TempDir(), filepath.Join(dir, "adapter")
	records := make([]map[string]any, len(sequences))
	for i, ids := range sequences {
		records[i] = map[string]any{"input_ids": ids}
	}
	logits, result := filepath.Join(tmp, "logits.safetensors"), filepath.Join(tmp, "routes.json")
	_, stderr, status := call(t, "score", "--backend", engine.Go, "--model", dir, "--adapter", adapter, "--ids", writeJSONFile(t, sequences), "--logits", logits)
	require.Zero(t, status, stderr)
	_, stderr, status = call(t, "routes", "--backend", engine.Go, "--model", dir, "--adapter", adapter, "--data", writeJSONFile(t, records),
		"--batch", "2", "--json", result)
	require.Zero(t, status, stderr)
	var r routed
	readJSONFile(t, result, &r)
	tokens := 0
	for _, ids := range sequences {
		tokens += len(ids)
	}
	require.Equal(t, tokens, r.Tokens)
	require.Equal(t, len(sequences), r.Records)
	require.Len(t, r.Projections, 3*7)
	require.Len(t, r.Layers, 3)
	require.Empty(t, r.Checkpoints)
	set := openSet(t, logits)
	for _, u := range r.Projections {
		load, first, pairs := make([]float64, u.Experts), make([]float64, u.Experts), make([][]float64, u.Experts)
		for i := range pairs {
			pairs[i] = make([]float64, u.Experts)
		}
		for i := range sequences {
			tensor, ok := set.Get(fmt.Sprintf("router_logits.%d.%d.%s", i, u.Layer, u.Site))
			require.True(t, ok)
			values, err := tensor.Float32s()
			require.NoError(t, err)
			for token := range slices.Chunk(values, u.Experts) {
				order := make([]int, u.Experts)
				for e := range order {
					order[e] = e
				}
				slices.SortStableFunc(order, func(a, b int) int {
					if token[a] > token[b] {
						return -1
					}
					return 1
				})
				first[order[0]] += 1 / float64(tokens)
				for _, a := range order[:u.TopK] {
					load[a] += 1 / float64(tokens*u.TopK)
					for _, b := range order[:u.TopK] {
						pairs[a][b] += 1 / float64(tokens)
					}
				}
			}
		}
		require.InDeltaSlice(t, load, u.Load, 1e-9, "%d.%s", u.Layer, u.Site)
		require.InDeltaSlice(t, first, u.First, 1e-9)
		require.InDelta(t, slices.Max(first), u.Top1Share, 1e-9)
		require.Len(t, u.Pairs, u.Experts)
		for i := range pairs {
			require.InDeltaSlice(t, pairs[i], u.Pairs[i], 1e-9)
		}
	}
}

// seedlingAdapter writes an adapter of the shipped model, with random A and routers.
func seedlingAdapter(t *testing.T, base, name string, experts []int) string {
	eng, err := engine.Open(engine.Go)
	require.NoError(t, err)
	m, err := model.Load(t.Context(), eng, base, "float32")
	require.NoError(t, err)
	shape := moelora.Shape{Kind: moelora.MoELoRA, Rank: 2, Alpha: 4, Experts: experts, TopK: moelora.DefaultTopK(experts), Targets: []model.Site{model.Q, model.Up, model.Down}}
	a, err := moelora.New(m, shape, uint64(len(name)))
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), name)
	require.NoError(t, a.Save(dir, m, 0))
	return dir
}

// records are texts of different lengths.
func textFile(t *testing.T, n int) string {
	var list []map[string]string
	for i := range n {
		list = append(list, map[string]string{"instruction": "Say " + strings.Repeat("again ", 3*i), "output": fmt.Sprint("yes ", i)})
	}
	return writeJSONFile(t, list)
}

func readRoutes(t *testing.T, args ...string) routed {
	t.Helper()
	stdout, stderr, status := call(t, append([]string{"routes", "--backend", engine.Go, "--json", "-"}, args...)...)
	require.Zero(t, status, stderr)
	var r routed
	require.NoError(t, json.Unmarshal([]byte(stdout), &r))
	return r
}

// TestRoutesDoNotDependOnTheBatch also holds what the numbers must add up to.
func TestRoutesDoNotDependOnTheBatch(t *testing.T) {
	dir, data := base(t), textFile(t, 7)
	adapter := seedlingAdapter(t, dir, "one", []int{1, 2, 0, 5})
	var first routed
	for _, batch := range []string{"1", "3", "64"} {
		r := readRoutes(t, "--model", dir, "--adapter", adapter, "--data", data, "--batch", batch)
		require.Len(t, r.Projections, 2*3)
		if batch == "1" {
			first = r
		}
		for i, u := range r.Projections {
			want := first.Projections[i]
			require.Equal(t, want.Load, u.Load, "the counts are exact")
			require.Equal(t, want.First, u.First)
			require.Equal(t, want.Pairs, u.Pairs)
			require.Equal(t, want.Dead, u.Dead)
			require.InDeltaSlice(t, want.Weight, u.Weight, 1e-6)
			require.InDelta(t, want.TokenEntropy, u.TokenEntropy, 1e-6)
			require.InDelta(t, want.FirstGate, u.FirstGate, 1e-6)
			for _, shares := range [][]float64{u.Load, u.Weight, u.First} {
				sum := 0.0
				for _, v := range shares {
					sum += v
				}
				require.InDelta(t, 1, sum, 1e-6)
			}
		}
	}
	u := usageOf(t, first, 3, "down_proj")
	require.Equal(t, 5, u.Experts)
	require.Equal(t, 2, u.TopK)
	trace := 0.0
	for i := range u.Pairs {
		trace += u.Pairs[i][i]
	}
	require.InDelta(t, 2, trace, 1e-9, "each token chooses two")

	// One choice of a token instead of two.
	one := readRoutes(t, "--model", dir, "--adapter", adapter, "--data", data, "--top-k", "1")
	u = usageOf(t, one, 3, "q_proj")
	require.InDeltaSlice(t, u.First, u.Load, 1e-12)
	require.InDelta(t, 1, u.FirstGate, 1e-6)
	require.Nil(t, u.Pairs)
}

func TestRoutesCutAndLimit(t *testing.T) {
	dir, data := base(t), textFile(t, 5)
	args := []string{"--model", dir, "--adapter", seedlingAdapter(t, dir, "one", []int{1, 2, 0, 5}), "--data", data + "," + data}
	whole := readRoutes(t, args...)
	require.Equal(t, 10, whole.Records)
	require.Zero(t, whole.Cut)
	limited := readRoutes(t, append(args, "--limit", "5")...)
	require.Equal(t, whole.Tokens, 2*limited.Tokens)
	require.Equal(t, limited.Projections[0].Load, whole.Projections[0].Load)
	cut := readRoutes(t, append(args, "--cutoff", "20", "--limit", "5")...)
	require.Equal(t, 5, cut.Cut)
	require.Equal(t, 5*20, cut.Tokens)
	long := writeJSONFile(t, []map[string]string{{"instruction": strings.Repeat("word ", 300), "output": "x"}})
	_, stderr, status := call(t, append([]string{"routes", "--backend", engine.Go}, append(args[:4:4], "--data", long)...)...)
	require.Zero(t, status, stderr)
	require.Contains(t, stderr, "warning: 1 records are longer than the model's context")
}

// TestRoutesOverTraining trains a few steps and follows the routing through their
// checkpoints; and reads a checkpoint as the adapter.
func TestRoutesOverTraining(t *testing.T) {
	dir, data := base(t), textFile(t, 4)
	config, output := runFile(t, dir, "["+record+"]", "")
	_, stderr, status := call(t, "train", "--config", config, "--set", "allocation.strategy=uniform", "--set", "allocation.experts=16", "--set", "training.checkpoint_every=1",
		"--set", "training.learning_rate=0.05", "--set", "adapter.r=2")
	require.Zero(t, status, stderr)
	steps := []string{filepath.Join(output, "checkpoints", "step-000001"), filepath.Join(output, "checkpoints", "step-000002")}
	page := filepath.Join(t.TempDir(), "routes.html")
	r := readRoutes(t, "--model", dir, "--adapter", filepath.Join(output, "adapter"), "--data", data, "--checkpoints", strings.Join(steps, ","), "--html", page)
	require.Len(t, r.Checkpoints, 3)
	require.Equal(t, 1, r.Checkpoints[0].Step)
	require.Equal(t, 2, r.Checkpoints[1].Step)
	require.Empty(t, r.Checkpoints[0].Drift)
	last := r.Checkpoints[2]
	require.Len(t, last.Drift, len(r.Projections))
	moved := 0.0
	for i, d := range last.Drift {
		distance := 0.0
		for e, f := range last.Projections[i].Load {
			distance += math.Abs(f-r.Checkpoints[0].Projections[i].Load[e]) / 2
		}
		require.InDelta(t, distance, d.LoadFirst, 1e-9)
		require.LessOrEqual(t, d.LoadFirst, d.ChosenFirst+1e-9, "a load moves only where choices do")
		require.Equal(t, r.Projections[i].Load, last.Projections[i].Load)
		moved += d.ChosenFirst
	}
	require.Positive(t, moved)
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, heading := range []string{"Load of the experts", "Entropy of the load", "Dead experts", "Which experts work together", "Drift over training"} {
		require.Contains(t, string(html), "<h2>"+heading+"</h2>")
	}

	requireDocumented(t, r)

	second := readRoutes(t, "--model", dir, "--adapter", steps[1], "--data", data)
	require.Equal(t, r.Checkpoints[1].Projections[0].Load, second.Projections[0].Load)

	state := filepath.Join(steps[0], "state.safetensors")
	edit(t, state, func(b []byte) []byte { return b[:len(b)/2] })
	args := []string{"routes", "--backend", engine.Go, "--model", dir, "--data", data, "--adapter"}
	refused(t, steps[0]+": state.safetensors is damaged", append(args, steps[0])...)
	require.NoError(t, os.RemoveAll(filepath.Join(output, "adapter")))
	other := seedlingAdapter(t, dir, "other", []int{2, 2, 2, 2})
	refused(t, "has another shape than", append(args, other, "--checkpoints", steps[1])...)
	_, stderr, status = call(t, "generate", "--model", dir, "--adapter", steps[1], "--prompt", "Say", "--max-new-tokens", "2")
	require.Zero(t, status, stderr, "a checkpoint is an adapter, of a run that has not ended too")
}

// requireDocumented holds that every key of the JSON stands in docs/routes.md.
func requireDocumented(t *testing.T, r routed) {
	doc, err := os.ReadFile(filepath.Join(testkit.Root(t), "docs", "routes.md"))
	require.NoError(t, err)
	encoded, err := json.Marshal(r)
	require.NoError(t, err)
	keys := map[string]bool{}
	for _, m := range regexp.MustCompile(`"(\w+)":`).FindAllStringSubmatch(string(encoded), -1) {
		keys[m[1]] = true
	}
	require.Greater(t, len(keys), 30)
	for key := range keys {
		require.Contains(t, string(doc), "`"+key+"`")
	}
}

func TestStoppedRoutes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var errs strings.Builder
	dir := base(t)
	err := run(ctx, newApp(&errs, &errs), []string{"routes", "--backend", engine.Go, "--model", dir, "--adapter", seedlingAdapter(t, dir, "one", []int{1, 2, 0, 5}), "--data", textFile(t, 2)})
	require.ErrorIs(t, err, context.Canceled)
}

func TestWrongRoutesAreRefused(t *testing.T) {
	dir, data := base(t), textFile(t, 2)
	adapter := seedlingAdapter(t, dir, "one", []int{1, 2, 0, 5})
	single := seedlingAdapter(t, dir, "single", []int{1, 1, 0, 1})
	bigger := seedlingAdapter(t, dir, "bigger", []int{1, 2, 0, 6})
	empty := filepath.Join(t.TempDir(), "empty.json")
	require.NoError(t, os.WriteFile(empty, []byte("[]"), 0o644))
	for why, args := range map[string][]string{
		"are needed":                           {"--model", dir, "--adapter", adapter},
		"single: adapter: has no routed layer": {"--adapter", single, "--data", data},
		"holds no record":                      {"--adapter", adapter, "--data", empty},
		"cannot be read":                       {"--adapter", adapter, "--data", filepath.Join(dir, "absent.json")},
		"below the vocabulary's":               {"--adapter", adapter, "--data", writeJSONFile(t, []map[string]any{{"input_ids": []int{1, 99999}}})},
		"has no output":                        {"--adapter", adapter, "--data", writeJSONFile(t, []map[string]any{{"instruction": "x"}})},
		"adapter_config.json":                  {"--adapter", t.TempDir(), "--data", data},
		"has another shape than":               {"--adapter", bigger, "--data", data, "--checkpoints", adapter},
		"--limit -1":                           {"--adapter", adapter, "--data", data, "--limit", "-1"},
		"--cutoff -1":                          {"--adapter", adapter, "--data", data, "--cutoff", "-1"},
		"--batch 0":                            {"--adapter", adapter, "--data", data, "--batch", "0"},
		"--dead-below 2":                       {"--adapter", adapter, "--data", data, "--dead-below", "2"},
		"--html":                               {"--adapter", adapter, "--data", data, "--html", dir},
	} {
		if !slices.Contains(args, "--model") {
			args = append(args, "--model", dir)
		}
		refused(t, why, append([]string{"routes", "--backend", engine.Go}, args...)...)
	}

	// Another base of the same shape, and one of another.
	other := base(t)
	edit(t, filepath.Join(other, "model.safetensors"), func(b []byte) []byte { b[len(b)-2] ^= 1; return b })
	refused(t, "was trained on a base with fingerprint", "routes", "--backend", engine.Go, "--model", other, "--adapter", adapter, "--data", data)
	llama := testkit.Shared(t, "reference", "llama")
	refused(t, "tensor", "routes", "--backend", engine.Go, "--model", dir, "--adapter", filepath.Join(llama, "adapter"), "--data", data)
}
