package data

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/alpaca"
	"alphalora/internal/fault"
)

func TestFormsOfFiles(t *testing.T) {
	array := write(t, "a.json", "\ufeff\n[{\"input_ids\":[1,2]},\n {\"input_ids\":[3,4],\"labels\":null}]\n")
	lines := write(t, "b.jsonl", "{\"input_ids\":[5, 6],\"labels\":[-100,6]}\r\n\r\n{\"source\":\"x\",\"labels\":[7,8],\"input_ids\":[7,8]}")
	samples, report, err := read(t, []string{lines, array}, Options{Vocabulary: 10})
	require.NoError(t, err)
	require.Equal(t, Report{Samples: 4}, counts(report))
	require.Equal(t, []Sample{
		{IDs: []int32{5, 6}, Labels: []int32{Ignored, 6}},
		{IDs: []int32{7, 8}, Labels: []int32{7, 8}},
		{IDs: []int32{1, 2}},
		{IDs: []int32{3, 4}},
	}, samples)

	text := write(t, "c.json", `[{"instruction":"a","output":"b"}]`)
	_, _, err = read(t, []string{text}, Options{Vocabulary: 10})
	require.ErrorContains(t, err, "c.json:1 (record 1): is text, but the model has no tokenizer")
}

// ending is a tokenizer that ends every text, as add_eos_token asks.
type ending struct{ letters }

func (ending) Encode(text string, special bool) ([]int32, error) {
	ids, err := letters{}.Encode(text, special)
	return append(ids, end), err
}

func TestMaskWithATokenizerThatEndsEveryText(t *testing.T) {
	o := options
	o.Encoder = ending{}
	s, err := o.Text(alpaca.Prompt("x", ""), "yes")
	require.NoError(t, err)
	plain, err := options.Text(alpaca.Prompt("x", ""), "yes")
	require.NoError(t, err)
	require.Equal(t, plain, s, "neither a second end token nor a mask over the answer's first")
}

// melting is a tokenizer for which any text is one token, and none ends it.
type melting struct{ letters }

func (melting) Encode(string, bool) ([]int32, error) { return []int32{1}, nil }
func (melting) EOS() (int32, bool)                   { return 0, false }

func TestAnAnswerWithoutTokensIsRefused(t *testing.T) {
	path := write(t, "x.json", `{"instruction":"a","output":"b"}`)
	_, _, err := read(t, []string{path}, Options{Encoder: melting{}, Vocabulary: 10})
	require.ErrorContains(t, err, "x.json:1: has no token to learn after the first")
}

func TestErrorsOfTheTokenizerNameTheRecord(t *testing.T) {
	path := write(t, "x.json", `{"instruction":"a","output":"b"}`)
	_, _, err := read(t, []string{path}, Options{Encoder: refusing{}, Vocabulary: 10})
	require.EqualError(t, err, path+":1: text: is bad (mend it)")
}

type refusing struct{ melting }

func (refusing) Encode(string, bool) ([]int32, error) {
	return nil, fault.Input("text", "mend it", "is bad")
}

// A record without an end must not fill the memory.
func TestLongRecordsAreRefused(t *testing.T) {
	for open, suffix := range map[string]string{"\n[": ":2 (record 1)", "\n": ":2"} {
		path := filepath.Join(t.TempDir(), "x")
		f, err := os.Create(path)
		require.NoError(t, err)
		w := bufio.NewWriter(f)
		_, _ = w.WriteString(open + `{"instruction":"`)
		for range maxRecord>>10 + 2100 {
			_, _ = w.WriteString(strings.Repeat("y", 1024))
		}
		require.NoError(t, w.Flush())
		require.NoError(t, f.Close())
		_, _, err = read(t, []string{path}, options)
		require.EqualError(t, err, path+suffix+": is longer than 16 MiB (mend or remove the record)")
	}
}

func TestDirectoryIsNoFile(t *testing.T) {
	dir := t.TempDir()
	_, _, err := read(t, []string{dir}, options)
	require.EqualError(t, err, dir+": is a directory (name a JSON, JSONL or Parquet file)")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
}

// plain is a tokenised record.
type plain struct {
	InputIDs []int32 `json:"input_ids"`
	Labels   []int32 `json:"labels"`
}

// slow is what encoding/json makes of a tokenised record.
func slow(text string) (plain, error) {
	var r plain
	err := json.Unmarshal([]byte(text), &r)
	return r, err
}

var tokenised = []string{
	`{"input_ids":[1,2,3]}`,
	` { "input_ids" : [ 1 , -2, 999999999 ] , "labels":[-100,0,-0] } `,
	"{\"input_ids\":[\t1,\r\n2]}",
	`{"input_ids":[]}`,
	`{"input_ids":[01]}`,
	`{"input_ids":[1,]}`,
	`{"input_ids":[,1]}`,
	`{"input_ids":[1 2]}`,
	`{"input_ids":[1.0]}`,
	`{"input_ids":[1e2]}`,
	`{"input_ids":[-]}`,
	`{"input_ids":[2147483647]}`,
	`{"input_ids":[2147483648]}`,
	`{"input_ids":[null]}`,
	`{"input_ids":null}`,
	`{"input_ids":[1],"labels":null}`,
	`{"input_ids":[1],"labels":[2],"labels":[3]}`,
	`{"labels":[1],"input_ids":[2]}`,
	`{"input_ids":[1]},`,
	`{"input_ids":[1]`,
	`{"input_ids":[1`,
	`{"input_ids`,
	`{"input_ids"`,
	`{`,
	``,
	`{"input_ids":[1],"more":[2]}`,
}

func TestQuickWayAgreesWithJSON(t *testing.T) {
	quick := 0
	for _, text := range tokenised {
		ids, labels, ok := tokens([]byte(text))
		if !ok {
			continue
		}
		quick++
		r, err := slow(text)
		require.NoError(t, err, text)
		require.Equal(t, r.InputIDs, ids, text)
		require.Equal(t, r.Labels, labels, text)
	}
	require.Equal(t, 3, quick, "the first three, and nothing that is out of the ordinary")
}

func FuzzTokens(f *testing.F) {
	for _, text := range tokenised {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if ids, labels, ok := tokens([]byte(text)); ok {
			r, err := slow(text)
			require.NoError(t, err)
			require.Equal(t, r.InputIDs, ids)
			require.Equal(t, r.Labels, labels)
		}
	})
}

func TestBatcherWithoutSamples(t *testing.T) {
	_, err := NewBatcher(List(nil), Plan{Batch: 1, Micro: 1})
	require.EqualError(t, err, "data.train: has no sample (give at least one sample)")
}

// The order is part of what makes a run repeatable: it must survive new versions.
func TestOrderStays(t *testing.T) {
	b := batcher(t, lengths(2, 3, 4, 5, 6, 7, 8, 9), Plan{Batch: 8, Micro: 8, Shuffle: true, Seed: 42})
	require.Equal(t, []int32{5, 6, 4, 3, 7, 2, 8, 9}, b.Next()[0].Lengths)
	require.Equal(t, []int32{3, 4, 8, 2, 7, 9, 6, 5}, b.Next()[0].Lengths)
}

// BenchmarkRead reads a corpus of rows of 192 tokens; the aim is 50 MB/s.
func BenchmarkRead(b *testing.B) {
	var text strings.Builder
	for row := range 5000 {
		text.WriteString(`{"input_ids":[`)
		for i := range 192 {
			if i > 0 {
				text.WriteByte(',')
			}
			fmt.Fprint(&text, (row*31+i*7)%960)
		}
		text.WriteString("]}\n")
	}
	path := filepath.Join(b.TempDir(), "corpus.jsonl")
	require.NoError(b, os.WriteFile(path, []byte(text.String()), 0o644))
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		set, err := Read(b.Context(), Sources([]string{path}, nil), Options{Vocabulary: 960, Workers: 1})
		require.NoError(b, err)
		require.NoError(b, set.Close())
	}
}
