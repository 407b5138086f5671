package benchmark

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"alphalora/internal/fault"
	"alphalora/internal/testkit"
)

// officially writes ready-made records as the official files that are evaluated, in
// every layout that the benchmark has: one folder each.
var officially = map[string]map[string]func(t *testing.T, dir string, records []record){
	"cola": {
		"tsv": func(t *testing.T, dir string, records []record) {
			table(t, filepath.Join(dir, "dev.tsv"), "", records, func(i int, s []string, label string) string {
				return "gj04\t" + map[string]string{"acceptable": "1", "unacceptable": "0"}[label] + "\t\t" + s[0]
			})
		},
		"parquet": func(t *testing.T, dir string, records []record) {
			var rows []colaRow
			for i, r := range records {
				rows = append(rows, colaRow{sentences(r)[0], map[string]int64{"acceptable": 1}[r.text("answer")], int32(i)})
			}
			shards(t, dir, "validation", rows)
		},
	},
	"mrpc": {
		"txt": func(t *testing.T, dir string, records []record) {
			table(t, filepath.Join(dir, "msr_paraphrase_test.txt"), "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n", records, func(i int, s []string, label string) string {
				return fmt.Sprintf("%d\t%d\t%d\t%s\t%s\r", map[string]int{"equivalent": 1}[label], i, i, s[0], s[1])
			})
		},
		"parquet": pairs("test", map[string]int64{"equivalent": 1, "not equivalent": 0}),
	},
	"rte": {
		"tsv": func(t *testing.T, dir string, records []record) {
			table(t, filepath.Join(dir, "dev.tsv"), "index\tsentence1\tsentence2\tlabel\n", records, func(i int, s []string, label string) string {
				return fmt.Sprintf("%d\t%s\t%s\t%s", i, s[0], s[1], strings.ReplaceAll(label, " ", "_"))
			})
		},
		"parquet": pairs("validation", map[string]int64{"entailment": 0, "not entailment": 1}),
	},
	"scienceqa": {
		"problems": func(t *testing.T, dir string, records []record) {
			problems, numbers := map[string]any{"0": map[string]any{"question": "What is shown?", "image": "image.png", "hint": "", "choices": []string{"x", "y"}, "answer": 0}}, []string{"0"}
			for i, r := range records {
				n := fmt.Sprint(10 * (i + 1))
				letter := strings.Index("ABCDEFGHIJ", r.text("answer"))
				problems[n] = map[string]any{"question": r["question"], "choices": r["choices"], "answer": letter, "hint": r["hint"], "image": nil, "split": "test"}
				numbers = append(numbers, n)
			}
			writeJSON(t, filepath.Join(dir, "problems.json"), problems)
			writeJSON(t, filepath.Join(dir, "pid_splits.json"), map[string][]string{"test": numbers, "val": {"0"}})
		},
		"parquet": func(t *testing.T, dir string, records []record) {
			rows := []scienceRow{{Image: &picture{[]byte{0xff, 0xd8}, "x.png"}, Question: "What is shown?", Choices: []string{"x", "y"}}}
			for _, r := range records {
				rows = append(rows, scienceRow{nil, r.text("question"), texts(r["choices"]), int8(strings.Index("ABCDEFGHIJ", r.text("answer"))), r.text("hint")})
			}
			shards(t, filepath.Join(dir, "data"), "test", rows)
		},
	},
	"commonsenseqa": {"jsonl": stems("dev_rand_split.jsonl", "question"), "parquet": lettered("data", "validation", "question")},
	"openbookqa":    {"jsonl": stems("Data/Main/test.jsonl", "question_stem"), "parquet": lettered("main", "test", "question_stem")},
	"gsm8k": {
		"parquet": func(t *testing.T, dir string, records []record) {
			var rows []gsmRow
			for _, r := range records {
				rows = append(rows, gsmRow{r.text("question"), r.text("answer")})
			}
			shards(t, filepath.Join(dir, "main"), "test", rows)
		},
	},
}

type colaRow struct {
	Sentence string `parquet:"sentence"`
	Label    int64  `parquet:"label"`
	Index    int32  `parquet:"idx"`
}

type pairRow struct {
	First  string `parquet:"sentence1"`
	Second string `parquet:"sentence2"`
	Label  int64  `parquet:"label"`
	Index  int32  `parquet:"idx"`
}

type picture struct {
	Bytes []byte `parquet:"bytes,optional"`
	Path  string `parquet:"path,optional"`
}

type scienceRow struct {
	Image    *picture `parquet:"image,optional"`
	Question string   `parquet:"question"`
	Choices  []string `parquet:"choices,list"`
	Answer   int8     `parquet:"answer"`
	Hint     string   `parquet:"hint"`
}

type choiceLists struct {
	Text  []string `parquet:"text,list"`
	Label []string `parquet:"label,list"`
}

type questionRow struct {
	ID       string      `parquet:"id"`
	Question string      `parquet:"question"`
	Choices  choiceLists `parquet:"choices"`
	Answer   string      `parquet:"answerKey"`
}

type stemRow struct {
	ID       string      `parquet:"id"`
	Question string      `parquet:"question_stem"`
	Choices  choiceLists `parquet:"choices"`
	Answer   string      `parquet:"answerKey"`
}

type gsmRow struct {
	Question string `parquet:"question"`
	Answer   string `parquet:"answer"`
}

// sentences takes the sentences out of a ready-made GLUE prompt.
func sentences(r record) []string {
	text := strings.TrimSuffix(r.text("instruction"), "\n")
	if _, one, ok := strings.Cut(text, "\nSentence: "); ok {
		return []string{one}
	}
	_, both, _ := strings.Cut(text, "\nSentence 1: ")
	first, second, _ := strings.Cut(both, "\nSentence 2: ")
	return []string{first, second}
}

func table(t *testing.T, path, head string, records []record, line func(i int, s []string, label string) string) {
	t.Helper()
	var text strings.Builder
	text.WriteString(head)
	for i, r := range records {
		text.WriteString(line(i, sentences(r), r.text("answer")) + "\n")
	}
	write(t, path, text.String())
}

func pairs(split string, codes map[string]int64) func(t *testing.T, dir string, records []record) {
	return func(t *testing.T, dir string, records []record) {
		var rows []pairRow
		for i, r := range records {
			s := sentences(r)
			rows = append(rows, pairRow{s[0], s[1], codes[r.text("answer")], int32(i)})
		}
		shards(t, dir, split, rows)
	}
}

// stems writes the JSONL of the question's authors: {"question": {"stem", "choices": [..]}}.
func stems(name, key string) func(t *testing.T, dir string, records []record) {
	return func(t *testing.T, dir string, records []record) {
		var lines strings.Builder
		for _, r := range records {
			var choices []map[string]string
			lists := r["choices"].(map[string]any)
			for i, text := range texts(lists["text"]) {
				choices = append(choices, map[string]string{"text": text, "label": texts(lists["label"])[i]})
			}
			line, err := json.Marshal(map[string]any{"id": r["id"], "question": map[string]any{"stem": r[key], "choices": choices}, "answerKey": r["answerKey"]})
			require.NoError(t, err)
			lines.Write(append(line, '\n'))
		}
		write(t, filepath.Join(dir, name), lines.String())
	}
}

func lettered(folder, split, key string) func(t *testing.T, dir string, records []record) {
	return func(t *testing.T, dir string, records []record) {
		var rows []questionRow
		var stemmed []stemRow
		for _, r := range records {
			lists := r["choices"].(map[string]any)
			row := questionRow{r.text("id"), r.text(key), choiceLists{texts(lists["text"]), texts(lists["label"])}, r.text("answerKey")}
			rows, stemmed = append(rows, row), append(stemmed, stemRow(row))
		}
		if key == "question" {
			shards(t, filepath.Join(dir, folder), split, rows)
		} else {
			shards(t, filepath.Join(dir, folder), split, stemmed)
		}
	}
}

func texts(list any) []string {
	var all []string
	for _, v := range list.([]any) {
		all = append(all, v.(string))
	}
	return all
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

func writeJSON(t *testing.T, path string, v any) {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	write(t, path, string(data))
}

// shards writes rows as two Parquet files.
func shards[T any](t *testing.T, dir, split string, rows []T) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	half := (len(rows) + 1) / 2
	for i, part := range [][]T{rows[:half], rows[half:]} {
		require.NoError(t, parquet.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%05d-of-00002.parquet", split, i)), part))
	}
}

// checkLayouts reads the records in each official layout: the same questions, answers and
// training texts as the ready-made ones.
func checkLayouts(t *testing.T, name string, data []byte) (layouts int) {
	b, err := Find(name)
	require.NoError(t, err)
	want, err := b.Read(name, strings.NewReader(string(data)))
	require.NoError(t, err)
	records := decodeAll(t, data)
	for layout, files := range officially[name] {
		dir := t.TempDir()
		files(t, dir, records)
		got, err := b.Load(dir, "test")
		require.NoError(t, err, "%s as %s", name, layout)
		require.Len(t, got, len(want))
		for i := range got {
			got[i].ID = want[i].ID // GLUE's and ScienceQA's ready-made records have none
			require.Equal(t, want[i], got[i], "%s as %s: record %d", name, layout, i+1)
		}
		layouts++
	}
	return layouts
}

// TestOfficialLayoutsOfOwnRecords needs records with their fields and their text.
func TestOfficialLayoutsOfOwnRecords(t *testing.T) {
	layouts := 0
	for name, ready := range map[string]string{
		"cola": "test.json", "mrpc": "test.json", "rte": "test.json", "gsm8k": "test.jsonl",
	} {
		data, err := os.ReadFile(filepath.Join("testdata", name, ready))
		require.NoError(t, err)
		layouts += checkLayouts(t, name, data)
	}
	layouts += checkLayouts(t, "scienceqa", []byte(`[{"question":"Which sinks?\n\tSay.","choices":["a \"cork\"","a stone"],"answer":"B","hint":"","instruction":"Context: N/A\nQuestion: Which sinks?\n\tSay.\nOptions: (A) a \"cork\" (B) a stone\n","input":"","output":"Answer: The answer is B."},
		{"question":"Who?","choices":["x","y (C)","z"],"answer":"C","hint":"In Ünderland.","instruction":"Context: In Ünderland.\nQuestion: Who?\nOptions: (A) x (B) y (C) (C) z\n","input":"","output":"Answer: The answer is C."}]`))
	for name, key := range map[string]string{"commonsenseqa": "question", "openbookqa": "question_stem"} {
		layouts += checkLayouts(t, name, []byte(`[{"id":"1","`+key+`":"Ice will","choices":{"label":["A","B"],"text":["melt","sing"]},"answerKey":"A","instruction":"Question: Ice will\nOptions: (A) melt (B) sing\n","input":"","output":"Answer: The answer is A."}]`))
	}
	require.Equal(t, 13, layouts)
}

// TestOfficialLayoutsOfPublishedRecords takes every evaluated record of the published
// ready-made files through each official layout: their prompts come out byte for byte.
func TestOfficialLayoutsOfPublishedRecords(t *testing.T) {
	root := testkit.Shared(t, "benchmarks")
	layouts := 0
	for name := range officially {
		b, err := Find(name)
		require.NoError(t, err)
		paths, err := b.Files(root, "test")
		require.NoError(t, err)
		data, err := os.ReadFile(paths[0])
		require.NoError(t, err)
		layouts += checkLayouts(t, name, data)
	}
	require.Equal(t, 13, layouts)
}

func TestFoldersInTheOfficialCase(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "CoLA", "dev.tsv"), "gj04\t1\t\tThe \"lamp fell.\ngj04\t0\t*\tLamp the.\n")
	items, err := cola().Load(dir, "test")
	require.NoError(t, err)
	require.Len(t, items, 2)
	require.Contains(t, items[0].Prompt, "\nSentence: The \"lamp fell.\n")
	_, err = mrpc().Load(filepath.Join(dir, "CoLA"), "test")
	require.ErrorContains(t, err, "is the folder of cola, not of mrpc")
}

func TestBadOfficialFiles(t *testing.T) {
	good := "1\t0\t1\tOne.\tTwo.\n"
	head := "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
	for _, c := range []struct {
		name, benchmark string
		files           map[string]string
		says            []string
	}{
		{"cells", "mrpc", map[string]string{"msr_paraphrase_test.txt": head + good + "1\t0\t1\tOne.\n"}, []string{"record 2", "has 4 cells, not 5"}},
		{"label", "mrpc", map[string]string{"msr_paraphrase_test.txt": head + "7\t0\t1\tOne.\tTwo.\n"}, []string{"record 1", `label "7"`}},
		{"UTF-8", "mrpc", map[string]string{"msr_paraphrase_test.txt": head + "1\t0\t1\t\xff\tTwo.\n"}, []string{"record 1", "UTF-8"}},
		{"only a head", "mrpc", map[string]string{"msr_paraphrase_test.txt": head}, []string{"holds no records"}},
		{"empty", "mrpc", map[string]string{"msr_paraphrase_test.txt": ""}, []string{"holds no records"}},
		{"long line", "mrpc", map[string]string{"msr_paraphrase_test.txt": head + strings.Repeat("x", maxLine+1)}, []string{"record 1", "longer than"}},
		{"GLUE's unlabelled test", "mrpc", map[string]string{"test.tsv": head}, []string{"holds no test file"}},
		{"index twice", "rte", map[string]string{"dev.tsv": "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n0\tc\td\tentailment\n"}, []string{"record 2", `id "0"`}},
		{"label in words", "rte", map[string]string{"dev.tsv": "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tneutral\n"}, []string{`"neutral" is none of`}},
		{"no splits", "scienceqa", map[string]string{"problems.json": "{}"}, []string{"pid_splits.json", "cannot be opened"}},
		{"split of none", "scienceqa", map[string]string{"problems.json": "{}", "pid_splits.json": `{"train":["1"]}`}, []string{"names no problem of the split test"}},
		{"splits cut off", "scienceqa", map[string]string{"problems.json": "{}", "pid_splits.json": `{"train":["1"`}, []string{"pid_splits.json", "cut off"}},
		{"absent problem", "scienceqa", map[string]string{"problems.json": "{}", "pid_splits.json": `{"test":["1"]}`}, []string{"record 1", `problem "1"`}},
		{"problem twice", "scienceqa", map[string]string{"problems.json": `{"1":{},"1":{}}`, "pid_splits.json": `{"test":["1"]}`}, []string{"record 2", `id "1"`}},
		{"problem cut off", "scienceqa", map[string]string{"problems.json": `{"1":{"question"`, "pid_splits.json": `{"test":["1"]}`}, []string{"record 1", "cut off"}},
		{"list of problems", "scienceqa", map[string]string{"problems.json": `[]`, "pid_splits.json": `{"test":["1"]}`}, []string{"not a JSON object"}},
		{"problem named twice", "scienceqa", map[string]string{"problems.json": `{"1":{"question":"q","choices":["x","y"],"answer":0,"hint":""}}`, "pid_splits.json": `{"test":["1","1"]}`}, []string{"record 2", `id "1"`}},
		{"no Parquet", "gsm8k", map[string]string{"test-00000-of-00001.parquet": "PAR1 not at all"}, []string{"test-00000-of-00001.parquet", "not a whole Parquet file"}},
		{"empty Parquet", "gsm8k", map[string]string{"test-00000-of-00001.parquet": ""}, []string{"not a whole Parquet file"}},
		{"a part missing", "gsm8k", map[string]string{"test-00000-of-00002.parquet": ""}, []string{"one of 2 parts, of which 1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range c.files {
				write(t, filepath.Join(dir, name), text)
			}
			b, err := Find(c.benchmark)
			require.NoError(t, err)
			_, err = b.Load(dir, "test")
			require.Error(t, err)
			require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
			for _, s := range c.says {
				require.Contains(t, err.Error(), s)
			}
		})
	}
}

type badRow struct {
	Question []byte `parquet:"question,string"`
	Answer   string `parquet:"answer,optional"`
}

func TestBadParquetNamesTheRecord(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "test.parquet")
	load := func() error {
		_, err := gsm8k().load([]string{path}, "test")
		return err
	}
	require.NoError(t, parquet.WriteFile(path, []badRow{{[]byte("q"), "#### 1"}, {[]byte("\xff"), "#### 1"}}))
	require.ErrorContains(t, load(), `record 2: the field "question" is not valid UTF-8`)
	require.NoError(t, parquet.WriteFile(path, []badRow{{[]byte("q"), "#### 1"}, {[]byte("q"), ""}}))
	require.ErrorContains(t, load(), `record 2: the field "answer" is missing`)
	require.NoError(t, parquet.WriteFile(path, []struct {
		Pairs []struct{ A, B string } `parquet:"pairs,list"`
	}{{}}))
	require.ErrorContains(t, load(), "list of groups")

	var rows []gsmRow
	for i := range 200 {
		rows = append(rows, gsmRow{fmt.Sprint("How many, says ", i), fmt.Sprint("#### ", i)})
	}
	require.NoError(t, parquet.WriteFile(path, rows))
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, load())
	for cut := 0; cut < len(whole); cut += 97 {
		write(t, path, string(whole[:cut]))
		require.Equal(t, fault.StatusBad, fault.ExitStatus(load()), "cut at %d of %d", cut, len(whole))
	}
}

func FuzzOfficialFiles(f *testing.F) {
	path := filepath.Join(f.TempDir(), "x.parquet")
	require.NoError(f, parquet.WriteFile(path, []gsmRow{{"How many?", "#### 3"}}))
	gsm, err := os.ReadFile(path)
	require.NoError(f, err)
	require.NoError(f, parquet.WriteFile(path, []scienceRow{{Question: "q", Choices: []string{"x", "y"}}}))
	science, err := os.ReadFile(path)
	require.NoError(f, err)
	for _, seed := range [][]byte{gsm, science, gsm[:len(gsm)/2], []byte("index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n"),
		[]byte(`{"1":{"question":"q","choices":["x","y"],"answer":0,"hint":""}}`), []byte("gj04\t1\t\tx\n")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		for name, file := range map[string]string{"gsm8k": "test-x.parquet", "rte": "dev.tsv", "cola": "dev.tsv", "scienceqa": "problems.json"} {
			write(t, filepath.Join(dir, name, file), string(data))
		}
		write(t, filepath.Join(dir, "scienceqa", "pid_splits.json"), `{"test":["1"]}`)
		for _, b := range []Benchmark{gsm8k(), rte(), cola(), scienceqa()} {
			items, err := b.Load(dir, "test")
			if err != nil {
				require.Equal(t, fault.StatusBad, fault.ExitStatus(err), err)
				continue
			}
			require.NotEmpty(t, items)
		}
	})
}
