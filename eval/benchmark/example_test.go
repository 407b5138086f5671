package benchmark_test

import (
	"fmt"
	"strings"

	"alphalora/eval/benchmark"
)

// A benchmark over records of one's own, and the grading of what a model wrote.
func ExampleNew() {
	b := benchmark.New("towns", benchmark.Choice, nil)
	items, err := b.Read("towns.jsonl", strings.NewReader(
		`{"instruction":"Where is the harbour?\nOptions: (A) Oru (B) Tem\n","output":"Answer: The answer is B."}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(items[0].Candidates)
	for _, text := range []string{"Answer: The answer is B.", "Answer: The answer is A.", "Tem, I think."} {
		answer, correct, parsed := b.Grade(items[0], text, benchmark.Default)
		fmt.Printf("%q correct=%t parsed=%t\n", answer, correct, parsed)
	}
	// Output:
	// [Answer: The answer is A. Answer: The answer is B.]
	// "B" correct=true parsed=true
	// "A" correct=false parsed=true
	// "" correct=false parsed=false
}
