package benchmark

import "strings"

// svamp is SVAMP (Patel et al., 2021): {ID, Body, Question, Answer}. Body and
// question are joined as LLM-Adapters joins them, with a full stop where the body
// has none.
func svamp() Benchmark {
	return Benchmark{
		Name:   "svamp",
		Format: Number,
		files:  map[string][]string{"test": {"SVAMP.json", "test.json", "llm_adapters_test.json"}},
		decode: func(b Benchmark, f fields) (problem, error) {
			if f.has("instruction") {
				return instruction(b, f)
			}
			text, err := f.texts("ID", "Body", "Question")
			if err != nil {
				return problem{}, err
			}
			answer, err := f.scalar("Answer")
			if err != nil {
				return problem{}, err
			}
			return wordProblem(b, text[0], strings.TrimSuffix(text[1], ".")+". "+text[2], answer)
		},
	}
}
