package eval

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"alphalora/eval/benchmark"
	"alphalora/internal/fault"
)

// maxGraded bounds a file of results or samples, in bytes.
const maxGraded = 4 << 30

// ReadGraded reads which items were answered rightly, benchmark by benchmark, from a file
// of results (the JSON of the verb eval) or of samples (JSONL). Anything else, a result
// without its items, and samples out of order are bad input.
func ReadGraded(path string) ([]Graded, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fault.Input(path, "name the JSON or the samples of an evaluation", "cannot be read: %v", fault.Reason(err))
	case !info.Mode().IsRegular() || info.Size() > maxGraded:
		return nil, fault.Input(path, "name the JSON or the samples of an evaluation", "is not a file of at most %d bytes", int64(maxGraded))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Input(path, "make it readable", "cannot be read: %v", fault.Reason(err))
	}
	defer func() { _ = f.Close() }()
	list, err := readGraded(f)
	if err != nil {
		return nil, fault.Input(path, "name the JSON or the samples of an evaluation", "%v", err)
	}
	return list, nil
}

// entry is a report, or one sample.
type entry struct {
	Results *[]Result `json:"results"`
	Sample
}

func readGraded(r io.Reader) ([]Graded, error) {
	dec := json.NewDecoder(bufio.NewReader(r))
	var list []Graded
	prompts := map[string][]benchmark.Item{}
	for n := 1; ; n++ {
		var e entry
		err := dec.Decode(&e)
		switch {
		case errors.Is(err, io.EOF) && n > 1:
			for i, g := range list {
				if items := prompts[g.Benchmark]; items != nil {
					list[i].PromptSHA256 = benchmark.PromptHash(items)
				}
			}
			return list, nil
		case err != nil:
			return nil, fmt.Errorf("record %d is not JSON of an evaluation: %w", n, err)
		case e.Results != nil:
			if list, err = gradedResults(*e.Results); err != nil || dec.More() {
				return nil, errors.Join(err, more(dec))
			}
			return list, nil
		case e.Benchmark == "" || e.Prompt == "":
			return nil, fmt.Errorf("record %d is neither a report nor a sample", n)
		}
		items := prompts[e.Benchmark]
		if len(items) > 0 && e.Index <= items[len(items)-1].Index {
			return nil, fmt.Errorf("record %d has the index %d of %s, after %d", n, e.Index, e.Benchmark, items[len(items)-1].Index)
		}
		if items == nil {
			list = append(list, Graded{Benchmark: e.Benchmark})
		}
		prompts[e.Benchmark] = append(items, benchmark.Item{Index: e.Index, Prompt: e.Prompt})
		for i := range list {
			if list[i].Benchmark == e.Benchmark {
				list[i].Outcomes += string(e.outcome())
			}
		}
	}
}

func more(dec *json.Decoder) error {
	if dec.More() {
		return errors.New("goes on after the report")
	}
	return nil
}

// gradedResults checks that results carry their items.
func gradedResults(results []Result) ([]Graded, error) {
	var list []Graded
	seen := map[string]bool{}
	for _, r := range results {
		g := Graded{Benchmark: r.Benchmark, PromptSHA256: r.PromptSHA256, Outcomes: r.Outcomes}
		switch {
		case r.Items < 1 || len(r.Outcomes) != r.Items || strings.Trim(r.Outcomes, "cwu") != "" || g.correct() != r.Correct:
			return nil, fmt.Errorf("the result of %s does not say which of its %d items were answered rightly", r.Benchmark, r.Items)
		case seen[r.Benchmark]:
			return nil, fmt.Errorf("there are two results of %s", r.Benchmark)
		}
		seen[r.Benchmark] = true
		list = append(list, g)
	}
	if len(list) == 0 {
		return nil, errors.New("holds no result")
	}
	return list, nil
}
