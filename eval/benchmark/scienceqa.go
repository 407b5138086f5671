package benchmark

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"alphalora/internal/fault"
)

// scienceqa is ScienceQA (Lu et al., 2022), the questions without a picture. The
// hint is the context, "N/A" where it is empty.
func scienceqa() Benchmark {
	b := New("scienceqa", Choice, nil)
	official := func(parquet string) []string {
		return []string{problemsFile, "data/scienceqa/" + problemsFile, "data/" + parquet, parquet}
	}
	b.files = files(official("train-*.parquet"), official("validation-*.parquet"), official("test-*.parquet"))
	b.hub = "derek-thomas/ScienceQA"
	ask := question("answer", func(f fields) (string, error) {
		text, err := f.texts("hint", "question")
		if err != nil {
			return "", err
		}
		if text[0] == "" {
			text[0] = "N/A"
		}
		return "Context: " + text[0] + "\nQuestion: " + text[1] + "\n", nil
	})
	b.decode = func(b Benchmark, f fields) (problem, error) {
		if f.has("image") {
			return problem{skipped: true}, nil
		}
		return ask(b, f)
	}
	return b
}

// The authors' two files: all problems by their number, and the numbers of each split.
const (
	problemsFile = "problems.json"
	splitsFile   = "pid_splits.json"
)

// eachProblem streams the problems of a split, in its order.
func eachProblem(path string, r io.Reader, split string, do recordFunc) error {
	numbers, err := splitNumbers(filepath.Join(filepath.Dir(path), splitsFile), split)
	if err != nil {
		return err
	}
	problems, err := problemsOf(path, r)
	if err != nil {
		return err
	}
	for i, number := range numbers {
		raw, ok := problems[number]
		err := fmt.Errorf("the problem %q of the split %s is missing", clip(number), split)
		if ok {
			var f fields
			if f, err = object(raw); err == nil {
				f["id"], _ = json.Marshal(number)
				err = do(f)
			}
		}
		if err != nil {
			return badRecord(path, i+1, fmt.Errorf("problem %q: %w", clip(number), err))
		}
	}
	return nil
}

// splitNumbers reads the numbers of a split's problems; validation is called val there.
func splitNumbers(path, split string) ([]string, error) {
	f, _, err := open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var splits map[string][]string
	if err := json.NewDecoder(f).Decode(&splits); err != nil {
		return nil, fault.Input(path, "use the file that came with "+problemsFile, "%v", syntax(err))
	}
	name := map[string]string{"validation": "val"}[split]
	if name == "" {
		name = split
	}
	if len(splits[name]) == 0 {
		return nil, fault.Input(path, "use the file that came with "+problemsFile, "names no problem of the split %s", name)
	}
	return splits[name], nil
}

// problemsOf reads the object of all problems; a number that comes twice is bad input.
func problemsOf(path string, r io.Reader) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(r)
	if first, err := dec.Token(); err != nil || first != json.Delim('{') {
		return nil, fault.Input(path, "give the object of problems by number", "is not a JSON object")
	}
	problems := map[string]json.RawMessage{}
	for n := 1; dec.More(); n++ {
		key, err := dec.Token()
		number, ok := key.(string)
		if err != nil || !ok {
			return nil, badRecord(path, n, syntax(err))
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, badRecord(path, n, syntax(err))
		}
		if _, ok := problems[number]; ok {
			return nil, badRecord(path, n, fmt.Errorf("its id %q is that of an earlier record", clip(number)))
		}
		problems[number] = raw
	}
	if _, err := dec.Token(); err != nil {
		return nil, badRecord(path, len(problems)+1, errors.New("is cut off: the file ends inside the JSON"))
	}
	return problems, nil
}
