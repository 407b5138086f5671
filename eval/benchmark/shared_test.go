package benchmark

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/alpaca"
	"alphalora/internal/testkit"
)

// published counts the records of each file of the ten benchmarks.
var published = map[string]int{
	"mrpc/train.json": 3668, "mrpc/validation.json": 408, "mrpc/test.json": 1725,
	"cola/train.json": 8551, "cola/validation.json": 1043, "cola/test.json": 1043,
	"rte/train.json": 2490, "rte/validation.json": 277, "rte/test.json": 277,
	"scienceqa/train.json": 6508, "scienceqa/test.json": 2224,
	"commonsenseqa/train.json": 9741, "commonsenseqa/validation.json": 1221, "commonsenseqa/test.json": 1221,
	"openbookqa/train.json": 4957, "openbookqa/validation.json": 500, "openbookqa/test.json": 500,
	"gsm8k/train.jsonl": 7473, "gsm8k/test.jsonl": 1319,
	"svamp/SVAMP.json": 1000, "svamp/llm_adapters_test.json": 1000,
	"addsub/AddSub.json": 395, "addsub/test.json": 395,
	"multiarith/MultiArith.json": 600, "multiarith/test.json": 600,
}

// TestPublishedFiles reads every record of every file: counts, prompts byte for
// byte, golds that parse and are right against themselves.
func TestPublishedFiles(t *testing.T) {
	root := testkit.Shared(t, "benchmarks")
	checked := 0
	for _, path := range slices.Sorted(maps.Keys(published)) {
		name := filepath.Dir(path)
		b, err := Find(name)
		require.NoError(t, err)
		data, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err)
		items, err := b.Read(path, strings.NewReader(string(data)))
		require.NoError(t, err)
		require.Len(t, items, published[path], path)
		records := decodeAll(t, data)
		for i, it := range items {
			require.Equal(t, wantPrompt(t, name, records[i]), it.Prompt, "%s: record %d", path, i+1)
			requireAnswers(t, b, it, path)
			checked++
		}
		requireSamePromptsFromFields(t, b, path, records, items)
	}
	require.Equal(t, 59136, checked)
}

// requireAnswers checks the gold, and each output but those that are a machine's
// rationale, which may be wrong.
func requireAnswers(t *testing.T, b Benchmark, it Item, path string) {
	t.Helper()
	if b.Format == Number && strings.HasSuffix(path, "test.json") {
		it.Output = b.Format.Write(it.Gold)
	}
	requireGradesItself(t, b, it)
}

// record is a published record, decoded apart from the package.
type record map[string]any

func (r record) text(key string) string { s, _ := r[key].(string); return s }

func decodeAll(t *testing.T, data []byte) []record {
	t.Helper()
	var all []record
	if data[0] == '[' {
		require.NoError(t, json.Unmarshal(data, &all))
		return all
	}
	for line := range strings.Lines(string(data)) {
		var r record
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		all = append(all, r)
	}
	return all
}

func wantPrompt(t *testing.T, name string, r record) string {
	t.Helper()
	question := r.text("instruction")
	if question == "" {
		switch name {
		case "gsm8k":
			question = r.text("question")
		case "addsub", "multiarith":
			question = r.text("sQuestion")
		case "svamp":
			join := ". "
			if strings.HasSuffix(r.text("Body"), ".") {
				join = " "
			}
			question = r.text("Body") + join + r.text("Question")
		}
	}
	require.NotEmpty(t, question)
	require.Empty(t, r.text("input"))
	return alpaca.Prompt(question, "")
}

// requireSamePromptsFromFields takes the ready-made text out of multiple-choice
// records: built from the question and choices, the items must be the same.
func requireSamePromptsFromFields(t *testing.T, b Benchmark, path string, records []record, items []Item) {
	t.Helper()
	if b.Format != Choice {
		return
	}
	for _, r := range records {
		delete(r, "instruction")
		delete(r, "output")
	}
	data, err := json.Marshal(records)
	require.NoError(t, err)
	built, err := b.Read(path, strings.NewReader(string(data)))
	require.NoError(t, err)
	require.Equal(t, items, built, path)
}

// TestOfficialFilesAskWhatTheReadyMadeAsk compares the arithmetic sets with
// LLM-Adapters' shuffles of them: the same prompts and the same golds.
func TestOfficialFilesAskWhatTheReadyMadeAsk(t *testing.T) {
	root := testkit.Shared(t, "benchmarks")
	for official, ready := range map[string]string{
		"svamp/SVAMP.json": "svamp/llm_adapters_test.json", "addsub/AddSub.json": "addsub/test.json", "multiarith/MultiArith.json": "multiarith/test.json",
	} {
		b, err := Find(filepath.Dir(official))
		require.NoError(t, err)
		require.Equal(t, answersByPrompt(t, b, filepath.Join(root, ready)), answersByPrompt(t, b, filepath.Join(root, official)), official)
		chosen, err := b.Files(root, "test")
		require.NoError(t, err)
		require.Equal(t, []string{filepath.Join(root, official)}, chosen, "the official file is preferred")
	}
}

func answersByPrompt(t *testing.T, b Benchmark, path string) map[string][]string {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	items, err := b.Read(path, f)
	require.NoError(t, err)
	all := map[string][]string{}
	for _, it := range items {
		all[it.Prompt] = append(all[it.Prompt], string(it.Gold))
	}
	for _, golds := range all {
		slices.Sort(golds)
	}
	return all
}
