package benchmark

import (
	"errors"
	"regexp"
	"strings"
)

// calculation is GSM8K's calculator annotation: <<3*4=12>>.
var calculation = regexp.MustCompile(`<<[^<>]*>>`)

// gsm8k is GSM8K (Cobbe et al., 2021): {question, answer} with the gold number
// after "#### ". As training text the solution loses its calculator annotations
// and ends in the format's own line.
func gsm8k() Benchmark {
	return Benchmark{
		Name:   "gsm8k",
		Format: Number,
		files: map[string][]string{
			"train": {"train.jsonl", "train.json", "main/train-*.parquet", "train-*.parquet"},
			"test":  {"test.jsonl", "test.json", "main/test-*.parquet", "test-*.parquet"}},
		hub: "openai/gsm8k",
		decode: func(b Benchmark, f fields) (problem, error) {
			if f.has("instruction") {
				return instruction(b, f)
			}
			text, err := f.texts("question", "answer")
			if err != nil {
				return problem{}, err
			}
			solution, gold, ok := strings.Cut(text[1], "####")
			if !ok {
				return problem{}, errors.New(`its answer has no "#### " before the number`)
			}
			p, err := wordProblem(b, "", text[0], strings.TrimSpace(gold))
			p.output = calculation.ReplaceAllString(solution, "") + b.Format.Write(p.gold)
			return p, err
		},
	}
}
