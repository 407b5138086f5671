package benchmark

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/fault"
)

func TestPrepareWritesWhatItReads(t *testing.T) {
	out := t.TempDir()
	for _, b := range All() {
		m, err := b.Prepare("testdata", "", out)
		require.NoError(t, err)
		want, err := b.Load("testdata", "test")
		require.NoError(t, err)
		got, err := b.Load(out, "test")
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Len(t, m.Splits, 1)
		requireManifest(t, filepath.Join(out, b.Name), m)
		require.Equal(t, PromptHash(got), m.Splits[0].PromptSHA256)

		again, err := b.Prepare(out, "", t.TempDir())
		require.NoError(t, err)
		require.Equal(t, m.Splits[0].SHA256, again.Splits[0].SHA256, "prepared records prepare to themselves")
	}
}

// requireManifest holds a manifest against the files.
func requireManifest(t *testing.T, dir string, m Manifest) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	require.NoError(t, err)
	var read Manifest
	require.NoError(t, json.Unmarshal(data, &read))
	require.Equal(t, m, read)
	for _, s := range m.Splits {
		data, err := os.ReadFile(filepath.Join(dir, s.File))
		require.NoError(t, err)
		sum := sha256.Sum256(data)
		require.Equal(t, hex.EncodeToString(sum[:]), s.SHA256)
		require.Len(t, decodeAll(t, data), s.Records)
		require.NotEmpty(t, s.Sources)
	}
}

func TestPrepareCountsSplitsAndAnswers(t *testing.T) {
	from, out := t.TempDir(), t.TempDir()
	write(t, filepath.Join(from, "RTE", "train.tsv"), "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n1\tc\td\tnot_entailment\n2\te\tf\tentailment\n")
	write(t, filepath.Join(from, "RTE", "dev.tsv"), "index\tsentence1\tsentence2\tlabel\n0\tg\th\tnot_entailment\n")
	m, err := rte().Prepare(from, "", out)
	require.NoError(t, err)
	require.Len(t, m.Splits, 3, "validation and test are the same file")
	require.Equal(t, map[string]int{"entailment": 2, "not entailment": 1}, m.Splits[0].Answers)
	require.Equal(t, "train.tsv", m.Splits[0].Sources[0].File)
	require.Equal(t, "dev.tsv", m.Splits[2].Sources[0].File)
	requireManifest(t, filepath.Join(out, "rte"), m)
}

func TestPrepareWritesNothingOfBadFiles(t *testing.T) {
	from, out := t.TempDir(), t.TempDir()
	write(t, filepath.Join(from, "test.json"), `[{"instruction":"x","output":"Answer: acceptable."}]`)
	write(t, filepath.Join(from, "train.json"), `[{"instruction":"x"}]`)
	_, err := cola().Prepare(from, "", out)
	require.ErrorContains(t, err, "train.json: record 1")
	require.NoError(t, os.Remove(filepath.Join(from, "train.json")))
	require.NoError(t, os.Rename(filepath.Join(from, "test.json"), filepath.Join(from, "train.json")))
	_, err = cola().Prepare(from, "", out)
	require.ErrorContains(t, err, "holds no test file")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	require.NoDirExists(t, filepath.Join(out, "cola"))
}

func TestMetaMathPrompt(t *testing.T) {
	items, err := gsm8k().Load("testdata", "test")
	require.NoError(t, err)
	asked, err := gsm8k().Ask(items, MetaMath)
	require.NoError(t, err)
	require.Equal(t, "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"+
		"### Instruction:\nA baker fills 3 trays with 12 rolls each. How many rolls are there?\n\n### Response: Let's think step by step.", asked[0].Prompt)
	require.NotEqual(t, PromptHash(items), PromptHash(asked))
	_, correct, _ := gsm8k().Grade(asked[0], " Each tray holds 12 rolls, so 3 * 12 = 36.\n#### 36\nThe answer is: 36", Default)
	require.True(t, correct)
	back, err := gsm8k().Ask(asked, Alpaca)
	require.NoError(t, err)
	require.Equal(t, items, back)
	_, err = cola().Ask(nil, MetaMath)
	require.ErrorContains(t, err, "cola asks for a label")
	_, err = ParseTemplate("chat")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
}

func TestHubPatternsMatchTheFiles(t *testing.T) {
	named := 0
	for _, b := range All() {
		if dataset, patterns := b.Hub(); dataset != "" {
			require.NotEmpty(t, patterns)
			named++
		}
	}
	require.Equal(t, 7, named, "SVAMP, AddSub and MultiArith have no dataset with the published questions")
}
