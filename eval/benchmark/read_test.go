package benchmark

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/fault"
)

func reader(s string) io.Reader { return strings.NewReader(s) }

func TestBadInputNamesTheRecord(t *testing.T) {
	good := `{"instruction":"Say.","input":"","output":"Answer: yes.","answer":"yes"}`
	choice := func(rest string) string { return `[{"instruction":"Q (A) x (B) y"` + rest + `}]` }
	yesNo, letter, number := New("t", Label, []string{"yes", "no"}), New("t", Choice, nil), New("t", Number, nil)
	csqa, gsm, add, science := commonsenseqa(), gsm8k(), addsub(), scienceqa()
	for _, c := range []struct {
		name string
		b    Benchmark
		in   string
		says []string
	}{
		{"empty", yesNo, "", []string{"f.json", "is empty"}},
		{"blank", yesNo, " \n\t", []string{"is empty"}},
		{"no records", yesNo, "[]", []string{"holds no records"}},
		{"not JSON", yesNo, "instruction\toutput\n", []string{"not JSON", `'i'`}},
		{"truncated array", yesNo, "[" + good + ",", []string{"record 2", "cut off"}},
		{"array without end", yesNo, "[" + good, []string{"record 2", "cut off"}},
		{"truncated record", yesNo, "[" + good + "," + good[:20], []string{"record 2", "cut off"}},
		{"truncated JSONL", yesNo, good + "\n" + good[:20], []string{"record 2", "cut off"}},
		{"broken record", yesNo, "[" + good + ",{\"a\" 1}]", []string{"record 2", "not JSON"}},
		{"after the end", yesNo, "[" + good + "]" + good, []string{"record 2", "after the end"}},
		{"rubbish after the end", yesNo, "[" + good + "]x", []string{"record 2", "not JSON"}},
		{"null record", yesNo, "[null]", []string{"record 1", "not a JSON object"}},
		{"number record", yesNo, "[1]", []string{"record 1", "not a JSON object"}},
		{"invalid UTF-8", yesNo, "[{\"instruction\":\"\xff\",\"output\":\"Answer: yes.\"}]", []string{"record 1", "UTF-8"}},
		{"no instruction", yesNo, `[{"output":"Answer: yes."}]`, []string{"record 1", `"instruction" is missing`}},
		{"blank instruction", yesNo, `[{"instruction":" ","output":"Answer: yes."}]`, []string{"record 1", "question is empty"}},
		{"no output", yesNo, `[{"instruction":"x"}]`, []string{`"output" is missing`}},
		{"output not a string", yesNo, `[{"instruction":"x","output":3}]`, []string{`"output" is not a string`}},
		{"input not a string", yesNo, `[{"instruction":"x","input":[],"output":"Answer: yes."}]`, []string{`"input" is not a string`}},
		{"gold is no label", yesNo, `[{"instruction":"x","output":"Answer: perhaps."}]`, []string{"record 1", "perhaps", "yes, no"}},
		{"two golds", yesNo, `[{"instruction":"x","output":"Answer: yes. Answer: no."}]`, []string{"record 1"}},
		{"answer against output", yesNo, `[{"instruction":"x","output":"Answer: yes.","answer":"no"}]`, []string{"contradicts"}},
		{"no labels", New("t", Label, nil), "[" + good + "]", []string{"0 labels"}},
		{"no options in the text", letter, `[{"instruction":"Which?","output":"Answer: The answer is A."}]`, []string{"no choices"}},
		{"gold beyond the options", letter, choice(`,"output":"Answer: The answer is C."`), []string{"record 1", "A, B"}},
		{"empty choices", letter, choice(`,"choices":[],"output":"Answer: The answer is A."`), []string{"0 choices"}},
		{"blank choice", letter, choice(`,"choices":["x"," "],"output":"Answer: The answer is A."`), []string{"choice B is empty"}},
		{"choices of another kind", letter, choice(`,"choices":7,"output":"Answer: The answer is A."`), []string{`"choices"`}},
		{"27 choices", letter, choice(`,"choices":[` + strings.Repeat(`"x",`, 26) + `"x"],"output":"Answer: The answer is A."`), []string{"27 choices"}},
		{"no choices", csqa, `[{"question":"q","answerKey":"A"}]`, []string{`"choices" is missing`}},
		{"a choice without a label", csqa, `[{"question":{"stem":"q","choices":[{"text":"x"},{"text":"y","label":"B"}]},"answerKey":"A"}]`, []string{"labelled , B"}},
		{"a number beyond the choices", science, `[{"question":"q","choices":["x","y"],"answer":2,"hint":""}]`, []string{`"2" is none of its 2`}},
		{"a number as text", science, `[{"question":"q","choices":["x","y"],"answer":"1","hint":""}]`, []string{`"1" is none of its 2`}},
		{"hidden label", cola(), `[{"sentence":"x","label":-1}]`, []string{"record 1", "no label"}},
		{"no label", cola(), `[{"sentence":"x"}]`, []string{"no label"}},
		{"label beyond", mrpc(), `[{"sentence1":"x","sentence2":"y","label":2}]`, []string{`"2" is none of 0, 1`}},
		{"one sentence", mrpc(), `[{"sentence1":"x","label":1}]`, []string{`"sentence2" is missing`}},
		{"other letters", csqa, `[{"question":"q","choices":{"label":["1","2"],"text":["x","y"]},"answerKey":"1"}]`, []string{"labelled 1, 2"}},
		{"no answerKey", csqa, `[{"question":"q","choices":{"label":["A","B"],"text":["x","y"]}}]`, []string{`"answerKey" is missing`}},
		{"answerKey beyond", csqa, `[{"question":"q","choices":{"label":["A","B"],"text":["x","y"]},"answerKey":"C"}]`, []string{`"C" is none of its 2`}},
		{"no hint", science, `[{"question":"q","choices":["x","y"],"answer":"A"}]`, []string{`"hint" is missing`}},
		{"number gold", number, `[{"instruction":"x","output":"many"}]`, []string{"record 1", "many"}},
		{"number answer", number, `[{"instruction":"x","output":"","answer":"1,23"}]`, []string{"1,23", "not one number"}},
		{"answer of another kind", number, `[{"instruction":"x","output":"","answer":{}}]`, []string{"neither a string nor a number"}},
		{"no ####", gsm, `{"question":"q","answer":"4"}`, []string{"####"}},
		{"nothing after ####", gsm, `{"question":"q","answer":"####"}`, []string{"answer is empty"}},
		{"two solutions", add, `[{"sQuestion":"q","lSolutions":["1","2"]}]`, []string{"lSolutions"}},
		{"solution is no number", add, `[{"sQuestion":"q","lSolutions":["one"]}]`, []string{"one"}},
		{"duplicate id", add, `[{"iIndex":5,"sQuestion":"q","lSolutions":["1"]},{"iIndex":5,"sQuestion":"r","lSolutions":["1"]}]`, []string{"record 2", `id "5"`, "record 1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.b.Read("f.json", reader(c.in))
			require.Error(t, err)
			require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
			require.True(t, strings.HasPrefix(err.Error(), "f.json: "), err.Error())
			require.NotContains(t, err.Error(), "\n")
			for _, s := range c.says {
				require.Contains(t, err.Error(), s)
			}
		})
	}
}

// endless is a file that never ends.
type endless struct{ started bool }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	if !e.started {
		copy(p, `[{"instruction":"`)
		e.started = true
	}
	return len(p), nil
}

func TestReadIsBounded(t *testing.T) {
	_, err := cola().read("f.json", &endless{}, 1<<20)
	require.ErrorContains(t, err, "larger than")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
}

func TestReadAcceptsExactlyTheLimit(t *testing.T) {
	in := `[{"instruction":"x","output":"Answer: acceptable."}]`
	items, err := cola().read("f.json", reader(in), int64(len(in)))
	require.NoError(t, err)
	require.Len(t, items, 1)
	_, err = cola().read("f.json", reader(in), int64(len(in)-1))
	require.ErrorContains(t, err, "larger than")
}

func TestFindAndFileErrors(t *testing.T) {
	_, err := Find("glue")
	require.ErrorContains(t, err, `"glue": is not known (choose one of mrpc, cola`)
	b, err := Find("svamp")
	require.NoError(t, err)
	_, err = b.Files("testdata", "train")
	require.ErrorContains(t, err, `split "train": is not a split of svamp (choose one of test)`)
	_, err = b.Files("testdata/rte", "test")
	require.ErrorContains(t, err, "is the folder of rte, not of svamp")
	_, err = b.Files(filepath.Join("testdata", "absent"), "test")
	require.ErrorContains(t, err, "is not a folder that can be read: no such file")
	_, err = b.Load(t.TempDir(), "test")
	require.ErrorContains(t, err, "SVAMP.json")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
}

func TestLoadRefusesAFolderAtTheFilesName(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "test.json"), 0o755))
	_, err := cola().Load(dir, "test")
	require.ErrorContains(t, err, "not a regular file")
}
