package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"alphalora/eval"
	"alphalora/eval/benchmark"
	"alphalora/internal/fault"
	"alphalora/internal/testkit"
)

// ownRecords is the folder of the project's own records in each benchmark's layout.
func ownRecords(t *testing.T) string {
	return filepath.Join(testkit.Root(t), "eval", "benchmark", "testdata")
}

func done(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, status := call(t, args...)
	require.Zero(t, status, stderr)
	return stdout, stderr
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

// TestEvalDoesNotDependOnTheBatch compares files byte for byte where answers are written,
// and answer by answer where they are scored.
func TestEvalDoesNotDependOnTheBatch(t *testing.T) {
	dir, names := t.TempDir(), "cola,rte,openbookqa,commonsenseqa,gsm8k"
	args := func(batch int, more ...string) []string {
		return append([]string{"eval", "--model", base(t), "--data", ownRecords(t), "--max-new-tokens", "12", "--batch", fmt.Sprint(batch),
			"--samples", filepath.Join(dir, fmt.Sprintf("s%d.jsonl", batch)), "--json", filepath.Join(dir, fmt.Sprintf("r%d.json", batch))}, more...)
	}
	for _, batch := range []int{1, 8} {
		done(t, args(batch, "--benchmark", names)...)
	}
	require.Equal(t, readFile(t, filepath.Join(dir, "s1.jsonl")), readFile(t, filepath.Join(dir, "s8.jsonl")))
	require.Equal(t, 11, strings.Count(readFile(t, filepath.Join(dir, "s1.jsonl")), "\n"))
	stdout, _ := done(t, "compare", filepath.Join(dir, "r1.json"), filepath.Join(dir, "s8.jsonl"))
	require.Equal(t, 6, strings.Count(stdout, "There is no difference"), stdout)

	for batch, more := range map[int][]string{1: nil, 8: nil, 4: {"--shared-prefix=false"}} {
		done(t, args(batch, append(more, "--benchmark", "cola,openbookqa", "--by", "likelihood-normalised")...)...)
	}
	one := samplesOf(t, filepath.Join(dir, "s1.jsonl"))
	for _, other := range []string{"s8.jsonl", "s4.jsonl"} {
		list := samplesOf(t, filepath.Join(dir, other))
		require.Len(t, list, len(one))
		for i, s := range list {
			require.Equal(t, one[i].Prediction, s.Prediction)
			require.InDeltaSlice(t, one[i].LogProbs, s.LogProbs, 1e-3)
		}
	}
}

func samplesOf(t *testing.T, path string) []eval.Sample {
	t.Helper()
	var list []eval.Sample
	for line := range strings.Lines(readFile(t, path)) {
		var s eval.Sample
		require.NoError(t, json.Unmarshal([]byte(line), &s))
		list = append(list, s)
	}
	return list
}

// stopper cancels once a text has been written.
type stopper struct {
	bytes.Buffer
	at     string
	cancel context.CancelFunc
}

func (s *stopper) Write(p []byte) (int, error) {
	n, err := s.Buffer.Write(p)
	if strings.Contains(s.String(), s.at) {
		s.cancel()
	}
	return n, err
}

func TestEvalGoesOnAfterAnInterruption(t *testing.T) {
	dir := t.TempDir()
	samples, model := filepath.Join(dir, "s.jsonl"), base(t)
	args := []string{"eval", "--model", model, "--data", ownRecords(t), "--benchmark", "cola,mrpc", "--max-new-tokens", "8", "--samples", samples}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out := &stopper{at: "cola 2/2", cancel: cancel}
	err := run(ctx, newApp(out, out), args)
	require.ErrorIs(t, err, context.Canceled)
	require.NoFileExists(t, samples)
	require.Equal(t, 3, strings.Count(readFile(t, samples+eval.PartialSuffix), "\n"), "a head and two answers")
	require.Contains(t, out.String(), "goes on from there")

	refused(t, `max-new-tokens was "8", now "9"`, append(args, "--max-new-tokens", "9")...)
	refused(t, "data of rte was", append(args, "--benchmark", "rte")...)
	edit(t, filepath.Join(model, "tokenizer.json"), func(b []byte) []byte { return append(b, '\n') })
	refused(t, "tokenizer was", args...)
	edit(t, filepath.Join(model, "tokenizer.json"), func(b []byte) []byte { return bytes.TrimSuffix(b, []byte("\n")) })

	result := filepath.Join(dir, "r.json")
	_, stderr := done(t, append(args, "--json", result)...)
	require.Contains(t, stderr, "going on with the 2 answers")
	require.NoFileExists(t, samples+eval.PartialSuffix)
	require.Len(t, samplesOf(t, samples), 4)
	var report eval.Report
	require.NoError(t, json.Unmarshal([]byte(readFile(t, result)), &report))
	require.Equal(t, []int{2, 0}, []int{report.Results[0].Resumed, report.Results[1].Resumed})
	require.Equal(t, "greedy", report.Decoding)
	require.NotEmpty(t, report.Engine+report.DType)
}

func TestWrongEvaluationsAreRefused(t *testing.T) {
	ask := func(more ...string) []string {
		return append([]string{"eval", "--model", "absent", "--data", ownRecords(t), "--benchmark", "cola"}, more...)
	}
	refused(t, `mode "guess"`, ask("--by", "guess")...)
	refused(t, `prompt "chat"`, ask("--prompt", "chat")...)
	refused(t, "cola asks for a label", ask("--prompt", "metamath")...)
	refused(t, "needs choices, and svamp has none", ask("--benchmark", "svamp", "--by", "likelihood")...)
	refused(t, "comes twice", ask("--benchmark", "cola")...)
	refused(t, "--limit -1", ask("--limit", "-1")...)
	refused(t, "--samples", ask("--samples", filepath.Join(t.TempDir(), "absent", "s.jsonl"))...)
	dir := t.TempDir()
	for name, text := range map[string]string{"a": `{"results":[{"benchmark":"a","items":1,"correct":1,"outcomes":"c"}]}`, "b": `{"results":[{"benchmark":"b","items":1,"correct":1,"outcomes":"c"}]}`} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	refused(t, "no benchmark in common", "compare", filepath.Join(dir, "a"), filepath.Join(dir, "b"))
	refused(t, "cannot be read", "compare", filepath.Join(dir, "a"), filepath.Join(dir, "c"))
}

func TestDataPrepare(t *testing.T) {
	out := t.TempDir()
	stdout, _ := done(t, "data", "prepare", "cola,gsm8k", "--from", ownRecords(t), "--out", out)
	require.Contains(t, stdout, "gsm8k")
	b, err := benchmark.Find("gsm8k")
	require.NoError(t, err)
	items, err := b.Load(out, "test")
	require.NoError(t, err)
	require.Len(t, items, 3)
	require.FileExists(t, filepath.Join(out, "cola", benchmark.ManifestFile))
	refused(t, "--out", "data", "prepare", "cola", "--from", out)
	refused(t, `"glue"`, "data", "prepare", "glue", "--from", out, "--out", out)
	refused(t, "is not a folder", "data", "prepare", "cola", "--from", filepath.Join(out, "absent"), "--out", out)
	refused(t, "no dataset on the hub", "data", "prepare", "svamp", "--download", "--out", out)
	refused(t, "from download", "data", "prepare", "cola", "--download", "--from", out, "--out", out)
}

// TestDataPrepareDownloads stands in for the hub: the dataset's list of files, and the files.
func TestDataPrepareDownloads(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	b, err := benchmark.Find("gsm8k")
	require.NoError(t, err)
	want, err := b.Load(ownRecords(t), "test")
	require.NoError(t, err)
	type row struct {
		Question string `parquet:"question"`
		Answer   string `parquet:"answer"`
	}
	var rows []row
	for _, it := range want {
		rows = append(rows, row{it.Instruction, strings.ReplaceAll(it.Output, "The answer is: ", "#### ")})
	}
	content := new(bytes.Buffer)
	require.NoError(t, parquet.Write(content, rows))
	commit := strings.Repeat("ab", 20)
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/datasets/openai/gsm8k/revision/main":
			_, _ = fmt.Fprintf(w, `{"id":"openai/gsm8k","sha":"%s","siblings":[{"rfilename":"README.md"},{"rfilename":"main/test-00000-of-00001.parquet"},{"rfilename":"socratic/test-00000-of-00001.parquet"}]}`, commit)
		case "/datasets/openai/gsm8k/resolve/" + commit + "/main/test-00000-of-00001.parquet":
			w.Header().Set("ETag", `"one"`)
			w.Header().Set("X-Repo-Commit", commit)
			_, _ = w.Write(content.Bytes())
		default:
			http.NotFound(w, r)
		}
	}))
	defer hub.Close()
	t.Setenv("HF_ENDPOINT", hub.URL)
	out := t.TempDir()
	done(t, "data", "prepare", "gsm8k", "--download", "--out", out)
	require.Contains(t, readFile(t, filepath.Join(out, "gsm8k", benchmark.ManifestFile)), `"dataset": "openai/gsm8k@`+commit)
	got, err := b.Load(out, "test")
	require.NoError(t, err)
	require.Equal(t, want, got)

	_, stderr, status := call(t, "data", "prepare", "cola", "--download", "--out", out)
	require.Equal(t, fault.StatusFailed, status, stderr)
	require.Contains(t, stderr, "cannot be downloaded")
}
