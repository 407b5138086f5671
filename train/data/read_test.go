package data

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alphalora/internal/fault"
)

func TestSkippedRecordsAreCounted(t *testing.T) {
	good := `{"instruction":"a","output":"b"}`
	path := write(t, "x.jsonl", good+"\n{\n"+`{"instruction":"`+strings.Repeat("y", maxRecord+5)+"\"}\n"+strings.Repeat("nonsense\n", 30)+good)
	o := options
	o.Skip = true
	samples, report, err := read(t, []string{path}, o)
	require.NoError(t, err)
	require.Len(t, samples, 2)
	require.Equal(t, Report{Samples: 2, Skipped: 32}, counts(report))
	require.Len(t, report.Problems, maxProblems)
	require.Contains(t, report.Problems[0], "x.jsonl:2: is not a JSON record")
	require.Contains(t, report.Problems[1], "x.jsonl:3: is longer than 16 MiB")
	require.Contains(t, report.String(), "32 bad records skipped")

	_, _, err = read(t, []string{write(t, "x.jsonl", "1\n2")}, o)
	require.ErrorContains(t, err, "x.jsonl: all 2 records are bad")
	_, _, err = read(t, []string{write(t, "x.json", "["+good+",")}, o)
	require.ErrorContains(t, err, "the file ends before the array does", "nobody knows what is missing")
}

func TestNothingInARecordIsBent(t *testing.T) {
	for content, why := range map[string]string{
		"{\"instruction\":\"a\xff\",\"output\":\"b\"}": "is not UTF-8",
		"\xff\xfe{\x00":                                                     "is not UTF-8",
		`{"instruction":"\ud800","output":"b"}`:                             "has half a surrogate pair",
		`{"instruction":"\udc00\ud800","output":"b"}`:                       "has half a surrogate pair",
		`{"instruction":"\ud83dx","output":"b"}`:                            "has half a surrogate pair",
		`{"instruction":"a\u0000","output":"b"}`:                            "",
		`{"input_ids":[1,null]}`:                                            "has a null in input_ids: a token id is needed",
		`{"input_ids":[1,2],"labels":[null,2]}`:                             "has a null in labels",
		`{"x":` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `}`: "nests deeper than 256",
		strings.Repeat("[", 100_000):                                        "is not a JSON record",
		strings.Repeat(`{"a":`, 100_000):                                    "nests deeper than 256",
		`{"Instruction":"a","output":"b"}`:                                  "has neither instruction",
		`null`:                                                              "is a null, not a record",
	} {
		_, _, err := read(t, []string{write(t, "x.jsonl", content)}, options)
		if why == "" {
			require.NoError(t, err, content)
			continue
		}
		require.ErrorContains(t, err, "x.jsonl:1", "%.60q", content)
		require.ErrorContains(t, err, why, "%.60q", content)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	}
	samples, _, err := read(t, []string{write(t, "x.jsonl", `{"instruction":"\\ud800 \ud83d\ude00","output":"b"}`)}, options)
	require.NoError(t, err, "an escaped backslash, and a whole pair")
	require.Len(t, samples, 1)
}

// meddling does something to a file while it is read.
type meddling struct {
	letters
	do func()
}

func (m meddling) Encode(text string, special bool) ([]int32, error) {
	m.do()
	return m.letters.Encode(text, special)
}

func TestFilesThatChangeWhileTheyAreRead(t *testing.T) {
	for why, change := range map[string]func(path string) error{
		"vanished while it was read":        os.Remove,
		"changed while it was read: it had": func(path string) error { return os.Truncate(path, 10) },
		"changed while it was read (":       func(path string) error { return os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)) },
	} {
		path, done := write(t, "x.jsonl", `{"instruction":"a","output":"b"}`), false
		o := options
		o.TrainOnInputs, o.Workers = true, 1
		o.Encoder = meddling{do: func() {
			if !done {
				done = true
				require.NoError(t, change(path))
			}
		}}
		_, _, err := read(t, []string{path}, o)
		require.ErrorContains(t, err, path+": "+why)
	}
	fifo := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	_, _, err := read(t, []string{fifo}, options)
	require.ErrorContains(t, err, "is not a regular file")
	o := options
	o.Dir = filepath.Join(t.TempDir(), "absent")
	_, _, err = read(t, []string{write(t, "x.jsonl", `{"input_ids":[1,2]}`)}, o)
	require.ErrorContains(t, err, "data.cache "+o.Dir+": the tokens are not written: no such file or directory")
}

func TestFingerprints(t *testing.T) {
	content := `[{"instruction":"a","output":"b"}] `
	path := write(t, "x.json", content)
	_, report, err := read(t, []string{path}, options)
	require.NoError(t, err)
	sum := sha256.Sum256([]byte(content))
	require.Equal(t, File{Path: path, SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(content)), Weight: 1, Samples: 1}, report.Files[0])
	o := options
	o.TrainOnInputs = true
	_, other, err := read(t, []string{path}, o)
	require.NoError(t, err)
	require.NotEqual(t, report.SHA256, other.SHA256, "the same file, other labels")
	_, report, err = read(t, []string{"testdata/tokens.parquet"}, options)
	require.NoError(t, err)
	raw, err := os.ReadFile("testdata/tokens.parquet")
	require.NoError(t, err)
	sum = sha256.Sum256(raw)
	require.Equal(t, hex.EncodeToString(sum[:]), report.Files[0].SHA256)
}

// Many workers make what one makes, in the same order.
func TestWorkersKeepTheOrder(t *testing.T) {
	var lines strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&lines, "{\"instruction\":\"%d\",\"output\":\"%s\"}\n", i, strings.Repeat("z", 1+i%50))
	}
	path, sums := write(t, "x.jsonl", lines.String()), map[string]bool{}
	for _, workers := range []int{1, 2, 7} {
		o := options
		o.Workers = workers
		set, err := Read(t.Context(), Sources([]string{path, path}, []float64{1, 2}), o)
		require.NoError(t, err)
		require.Equal(t, 10_000, set.Len())
		require.Equal(t, path+":4321", set.Origin(9320))
		require.Equal(t, []Share{{0, 5000, 1}, {5000, 10_000, 2}}, set.Shares())
		sums[set.SHA256] = true
		require.NoError(t, set.Close())
	}
	require.Len(t, sums, 1)
}

// requireGoroutines holds that no more than so many are left, after those that end.
func requireGoroutines(t *testing.T, most int) {
	t.Helper()
	for range 500 {
		if runtime.NumGoroutine() <= most {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	require.LessOrEqual(t, runtime.NumGoroutine(), most)
}

func TestReadingStops(t *testing.T) {
	before := runtime.NumGoroutine()
	path := write(t, "x.jsonl", strings.Repeat("{\"input_ids\":[1,2]}\n", 20_000))
	ctx, cancel := context.WithCancel(t.Context())
	o := options
	o.Progress = func(int64, int64) { cancel() }
	_, err := Read(ctx, Sources([]string{path}, nil), o)
	require.ErrorIs(t, err, context.Canceled)

	bad := errors.New("bad")
	taken := 0
	err = inOrder(4, func(emit func(int) bool) error {
		for i := 0; emit(i); i++ {
		}
		return nil
	}, func(i int) int { return 2 * i }, func(i int) error {
		require.Equal(t, 2*taken, i)
		if taken++; taken == 1000 {
			return bad
		}
		return nil
	})
	require.ErrorIs(t, err, bad)
	requireGoroutines(t, before)
}

func FuzzRecord(f *testing.F) {
	for _, text := range append(tokenised, `{"instruction":"\ud83d\ude00","input":"b","output":"c"}`,
		`{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]}`, `{"messages":[{"role":[[]]}]}`) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o := options
		o.Encoder = forgetful{}
		if s, err := o.sample([]byte(text)); err == nil {
			require.Positive(t, s.targets())
			require.True(t, s.Labels == nil || len(s.Labels) == len(s.IDs))
		}
	})
}
