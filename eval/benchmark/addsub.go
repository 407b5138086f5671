package benchmark

import (
	"encoding/json"
	"fmt"
	"strings"
)

// addsub is AddSub (Hosseini et al., 2014), in the layout of MAWPS.
func addsub() Benchmark {
	return Benchmark{
		Name:   "addsub",
		Format: Number,
		files:  map[string][]string{"test": {"AddSub.json", "test.json"}},
		decode: mawps,
	}
}

// mawps decodes {iIndex, sQuestion, lSolutions: [one number, or a string of one]}.
func mawps(b Benchmark, f fields) (problem, error) {
	if f.has("instruction") {
		return instruction(b, f)
	}
	text, err := f.text("sQuestion")
	if err != nil {
		return problem{}, err
	}
	id, err := f.scalar("iIndex")
	if err != nil {
		return problem{}, err
	}
	var solutions []json.RawMessage
	if err := json.Unmarshal(f["lSolutions"], &solutions); err != nil || len(solutions) != 1 {
		return problem{}, fmt.Errorf("the field %q is not a list of one number", "lSolutions")
	}
	return wordProblem(b, id, text, strings.Trim(string(solutions[0]), `"`))
}
