package data

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/alpaca"
	"alphalora/internal/fault"
	"alphalora/model/tokenizer"
)

// letters is a tokenizer of one token a byte, between a begin and an end token.
type letters struct{}

const begin, end = 256, 257

func (letters) Encode(text string, special bool) ([]int32, error) {
	var ids []int32
	if special {
		ids = append(ids, begin)
	}
	for _, b := range []byte(text) {
		ids = append(ids, int32(b))
	}
	return ids, nil
}

func (letters) EOS() (int32, bool) { return end, true }

func (l letters) Places(text string) (ids []int32, starts []int, err error) {
	for i := range len(text) {
		starts = append(starts, i)
	}
	ids, err = l.Encode(text, false)
	return ids, starts, err
}

// Conversation writes "<user>Hi.<assistant>Yes." and so on.
func (letters) Conversation(messages []tokenizer.Message, prompt bool) (string, error) {
	var w strings.Builder
	for _, m := range messages {
		fmt.Fprintf(&w, "<%s>%s.", m.Role, m.Content)
	}
	if prompt {
		w.WriteString("<assistant>")
	}
	return w.String(), nil
}

// read is Read with the samples in memory.
func read(t testing.TB, paths []string, o Options) ([]Sample, Report, error) {
	t.Helper()
	set, err := Read(context.Background(), Sources(paths, nil), o)
	if err != nil {
		return nil, Report{}, err
	}
	defer func() { require.NoError(t, set.Close()) }()
	samples := make([]Sample, set.Len())
	for i := range samples {
		samples[i], err = set.Sample(i)
		require.NoError(t, err)
		require.Equal(t, len(samples[i].IDs), set.Tokens(i))
	}
	return samples, set.Report, nil
}

// counts leaves of a report what a test states in short.
func counts(r Report) Report {
	return Report{Samples: r.Samples, Cut: r.Cut, Dropped: r.Dropped, Skipped: r.Skipped}
}

// next makes the step that follows the one before.
type next struct {
	*Batcher
	t    *testing.T
	step int
}

func (n *next) Next() []Batch {
	batches, err := n.Step(n.step)
	require.NoError(n.t, err)
	n.step++
	return batches
}

func batcher(t *testing.T, samples []Sample, p Plan) *next {
	b, err := NewBatcher(List(samples), p)
	require.NoError(t, err)
	return &next{b, t, 0}
}

var options = Options{Encoder: letters{}, Vocabulary: 258, Cutoff: 1000}

func write(t *testing.T, name, content string) string {
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	return path
}

func TestMaskGoesByPosition(t *testing.T) {
	path := write(t, "x.json", `[{"instruction":"Say no","output":"no"}, {"instruction":"a","input":"b","output":"c","more":1}]`)
	samples, report, err := read(t, []string{path}, options)
	require.NoError(t, err)
	require.Equal(t, Report{Samples: 2}, counts(report))
	prompt := alpaca.Prompt("Say no", "")
	s := samples[0]
	require.Len(t, s.IDs, 1+len(prompt)+2+1)
	require.EqualValues(t, begin, s.IDs[0])
	for i, l := range s.Labels {
		if i <= len(prompt) {
			require.EqualValues(t, Ignored, l)
		} else {
			require.Equal(t, s.IDs[i], l)
		}
	}
	require.Equal(t, []int32{'n', 'o', end}, s.Labels[len(s.Labels)-3:])
	require.Equal(t, 3, s.targets())

	o := options
	o.TrainOnInputs = true
	samples, _, err = read(t, []string{path}, o)
	require.NoError(t, err)
	require.Nil(t, samples[0].Labels)
	require.Equal(t, len(samples[0].IDs)-1, samples[0].targets())
}

func TestCutAndDropped(t *testing.T) {
	path := write(t, "x.jsonl", `{"instruction":"x","output":"0123456789"}`+"\n"+`{"instruction":"`+strings.Repeat("y", 50)+`","output":"z"}`)
	o := options
	o.Cutoff = 1 + len(alpaca.Prompt("x", "")) + 4
	samples, report, err := read(t, []string{path}, o)
	require.NoError(t, err)
	require.Equal(t, Report{Samples: 2, Cut: 2, Dropped: 1}, counts(report))
	require.Len(t, samples, 1)
	require.Equal(t, 4, samples[0].targets())
	o.Cutoff = 20
	_, _, err = read(t, []string{path}, o)
	require.ErrorContains(t, err, "lose their whole answer")
}

func TestBadRecordsNameTheirLine(t *testing.T) {
	good := `{"instruction":"a","output":"b"}`
	for content, why := range map[string]string{
		good + "\n" + `{"instruction":"a"}`:                  ":2: has no output",
		good + "\n\n" + `{"output":"a"}`:                     ":3: has neither instruction nor messages nor input_ids",
		good + "\n" + `{"instruction":"a","output":""}`:      ":2: has no output",
		"[\n" + good + ",\n" + `{"instruction":"a"}` + "\n]": ":3 (record 2): has no output",
		"[\n" + good + ",\n" + `{"instruction":`:             ":3 (record 2): the file ends before the array does",
		"[" + good:                                           "the file ends before the array does",
		"nonsense":                                           ":1: is not a JSON record",
		`{"input_ids":[1,2,999]}`:                            ":1: token 999 at 2 is not below the vocabulary's 258",
		`{"input_ids":[1,-2]}`:                               ":1: token -2 at 1",
		`{"input_ids":[1,2],"labels":[1]}`:                   ":1: has 2 input_ids but 1 labels",
		`{"input_ids":[1,2],"labels":[-100,-100]}`:           ":1: has no token to learn after the first",
		`{"input_ids":[1,2],"labels":[-100,-5]}`:             ":1: label -5 at 1",
		`{"input_ids":[1]}`:                                  ":1: has 1 tokens",
		`{"messages":[{"role":"user","content":"x"}]}`:       ":1: has no message of the assistant's",
		"":                               "holds no record",
		" \n ":                           "holds no record",
		"[]":                             "holds no record",
		`{"instruction":5,"output":"b"}`: ":1: has a number in instruction: text is needed",
		`{"input_ids":"x"}`:              ":1: has a string in input_ids: a list is needed",
		`{"input_ids":[1,2.5]}`:          ":1: has a number 2.5 in input_ids: a token id is needed",
		`[1]`:                            ":1 (record 1): is a number, not a record",
		"\n\n" + good + "\n{}":           ":4: has neither instruction nor messages nor input_ids",
		"\n[" + good + ",\n nonsense]":   ":3 (record 2): is not a JSON record: invalid character",
		"[" + good + "]\n[" + good + "]": ":2: something follows the array",
		"[" + good + "\n" + good + "]":   ":2 (record 2): is not a JSON record: expected comma",
		`{"input_ids":[1,2]} {"input_ids":[1,2]}`: ":1: is not a JSON record",
	} {
		path := write(t, "x.json", content)
		_, _, err := read(t, []string{path}, options)
		require.ErrorContains(t, err, why, content)
		require.ErrorContains(t, err, path, content)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err), content)
	}
	_, _, err := read(t, []string{filepath.Join(t.TempDir(), "absent.json")}, options)
	require.ErrorContains(t, err, "cannot be read: no such file or directory")
}

func FuzzRead(f *testing.F) {
	f.Add(`[{"instruction":"a","output":"b"}]`)
	f.Add(`{"input_ids":[1,2],"labels":[-100,2]}` + "\n{")
	f.Fuzz(func(t *testing.T, content string) {
		path := filepath.Join(t.TempDir(), "x")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
		samples, _, err := read(t, []string{path}, options)
		if err == nil {
			require.NotEmpty(t, samples)
		}
	})
}

// lengths makes samples of the given lengths, each with its number as its ids.
func lengths(n ...int) []Sample {
	var samples []Sample
	for i, length := range n {
		s := Sample{}
		for range length {
			s.IDs = append(s.IDs, int32(i))
		}
		samples = append(samples, s)
	}
	return samples
}

func TestEverySampleOnceAnEpoch(t *testing.T) {
	var n []int
	for i := range 23 {
		n = append(n, 2+i*7%90)
	}
	samples := lengths(n...)
	for _, p := range []Plan{{Batch: 4, Micro: 2}, {Batch: 4, Micro: 4, Shuffle: true, Seed: 3}, {Batch: 6, Micro: 2, Shuffle: true, GroupByLength: true}} {
		b := batcher(t, samples, p)
		for epoch := range 2 {
			seen := map[int32]int{}
			for range b.StepsPerEpoch() {
				for _, m := range b.Next() {
					require.Equal(t, p.Micro, m.Rows)
					require.Len(t, m.IDs, m.Rows*m.Length)
					targets := 0
					for row, length := range m.Lengths {
						if length == 0 {
							continue
						}
						id := m.IDs[row*m.Length]
						seen[id]++
						require.Len(t, samples[id].IDs, int(length))
						targets += int(length) - 1
						for i := int(length); i < m.Length; i++ {
							require.EqualValues(t, Ignored, m.Labels[row*m.Length+i])
						}
					}
					require.Equal(t, targets, m.Targets)
				}
			}
			require.Len(t, seen, len(samples), "%+v, epoch %d", p, epoch)
			for id, times := range seen {
				require.Equal(t, 1, times, "sample %d", id)
			}
		}
	}
}

func TestOrderIsAFunctionOfTheStep(t *testing.T) {
	samples := lengths(5, 9, 2, 7, 3, 8, 4, 6, 11)
	plan := Plan{Batch: 2, Micro: 1, Shuffle: true, GroupByLength: true, Seed: 9}
	a, b := batcher(t, samples, plan), batcher(t, samples, plan)
	for range 7 {
		a.Next()
	}
	b.step = 7
	require.Equal(t, a.Next(), b.Next())
	plan.Seed = 10
	c := batcher(t, samples, plan)
	a.step = 0
	different := false
	for range 5 {
		different = different || fmt.Sprint(a.Next()) != fmt.Sprint(c.Next())
	}
	require.True(t, different, "another seed, another order")
	plain := batcher(t, samples, Plan{Batch: 3, Micro: 3})
	require.Equal(t, []int32{5, 9, 2}, plain.Next()[0].Lengths, "file order")
	_, err := NewBatcher(List(samples), Plan{Batch: 3, Micro: 2})
	require.ErrorContains(t, err, "multiple")
}

func TestGroupingSavesPadding(t *testing.T) {
	var n []int
	for i := range 64 {
		n = append(n, 2+i*37%500)
	}
	padding := func(group bool) int {
		b := batcher(t, lengths(n...), Plan{Batch: 8, Micro: 8, Shuffle: true, GroupByLength: group})
		total := 0
		for range b.StepsPerEpoch() {
			for _, m := range b.Next() {
				total += m.Rows*m.Length - m.Tokens()
			}
		}
		return total
	}
	require.Less(t, 2*padding(true), padding(false))
}

func TestBuckets(t *testing.T) {
	for length, want := range map[int]int{1: 32, 32: 32, 33: 64, 128: 128, 129: 192, 512: 512, 513: 768} {
		require.Equal(t, want, Bucket(length))
	}
}
