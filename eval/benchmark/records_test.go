package benchmark

import (
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/alpaca"
)

// The records in testdata are of the project's own making, in each layout.
func TestOwnRecords(t *testing.T) {
	for _, c := range []struct {
		name, instruction, output string
		index                     int
		gold                      Answer
		choices                   []string
	}{
		{"mrpc", "Tell me if the statements equivalent, not equivalent.\nSentence 1: The ferry left at noon .\nSentence 2: The ferry never left .\n",
			"Answer: not equivalent.", 1, "not equivalent", []string{"equivalent", "not equivalent"}},
		{"cola", "Tell me if the statement unacceptable, acceptable.\nSentence: The lamp fell off the shelf.\n",
			"Answer: acceptable.", 0, "acceptable", []string{"acceptable", "unacceptable"}},
		{"rte", "Tell me if the statements entailment, not entailment.\nSentence 1: Mira owns a cat.\nSentence 2: Mira owns two grey cats.\n",
			"Answer: not entailment.", 1, "not entailment", []string{"entailment", "not entailment"}},
		{"scienceqa", "Context: N/A\nQuestion: Which of these sinks in water?\nOptions: (A) a cork (B) a stone\n",
			"Answer: The answer is B.", 0, "B", []string{"A", "B"}},
		{"scienceqa", "Context: The boat was cut from an oak.\nQuestion: What is the boat made of?\nOptions: (A) oak (B) tin (C) glass\n",
			"Answer: The answer is A.", 1, "A", []string{"A", "B", "C"}},
		{"commonsenseqa", "Question: What do you open when it rains?\nOptions: (A) an umbrella (B) a tin (C) a letter (D) a shop (E) a nut\n",
			"Answer: The answer is A.", 1, "A", []string{"A", "B", "C", "D", "E"}},
		{"openbookqa", "Question: Ice left in the sun will\nOptions: (A) melt (B) grow (C) burn (D) sing\n",
			"Answer: The answer is A.", 0, "A", []string{"A", "B", "C", "D"}},
		{"gsm8k", "A mine sells 1,500 stones at $2 each. How much does it earn?",
			"It earns 1500*2=$3,000.\nThe answer is: 3000", 1, "3000", nil},
		{"gsm8k", "It was 4 degrees and fell by 10. How warm is it now?", "4-10=-6.\nThe answer is: -6", 2, "-6", nil},
		{"svamp", "A jar holds 40 beans. 15 are red. How many are not red?", "The answer is: 25", 0, "25", nil},
		{"svamp", "If a rope of 9 metres is cut into 3 parts. How long is each part?", "The answer is: 3", 1, "3", nil},
		{"addsub", "Ann walked 2.5 miles and then 0.25 mile . How far did she walk ? ", "The answer is: 2.75", 0, "2.75", nil},
		{"multiarith", " Five crates came and two broke. Each holds 6 lamps. How many lamps are whole?", "The answer is: 18", 0, "18", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := Find(c.name)
			require.NoError(t, err)
			items, err := b.Load("testdata", "test")
			require.NoError(t, err)
			own, err := b.Load("testdata/"+c.name, "test")
			require.NoError(t, err)
			require.Equal(t, items, own, "the benchmark's folder and the folder above give the same")
			it := items[c.index]
			require.Equal(t, c.index, it.Index)
			require.Equal(t, alpaca.Prompt(c.instruction, ""), it.Prompt)
			require.Equal(t, c.output, it.Output)
			require.Equal(t, c.gold, it.Gold)
			require.Equal(t, c.choices, it.Choices)
			requireGradesItself(t, b, it)
		})
	}
}

// requireGradesItself checks that the item's own answer is right by every rule,
// and that each candidate is read as its choice.
func requireGradesItself(t *testing.T, b Benchmark, it Item) {
	t.Helper()
	for _, rule := range []Rule{Default, Strict, First, Last} {
		for _, text := range []string{b.Format.Write(it.Gold), it.Output} {
			answer, correct, parsed := b.Grade(it, text, rule)
			require.True(t, parsed && correct, "record %d, rule %q: %q read as %q, gold %q", it.Index+1, rule, text, answer, it.Gold)
		}
	}
	require.Len(t, it.Candidates, len(it.Choices))
	for i, text := range it.Candidates {
		answer, correct, parsed := b.Grade(it, text, Strict)
		require.True(t, parsed)
		require.Equal(t, Answer(it.Choices[i]), answer)
		require.Equal(t, answer == it.Gold, correct)
	}
}

func TestEveryBenchmarkHasOwnRecords(t *testing.T) {
	require.Len(t, All(), 10)
	for _, b := range All() {
		_, err := b.Load("testdata", "test")
		require.NoError(t, err)
	}
}

func TestNewReadsLettersFromTheText(t *testing.T) {
	b := New("places", Choice, nil)
	items, err := b.Read("places.json", reader(`[{"instruction":"Which town (A) is meant?\nOptions: (A) Oru (B) Tem (C) Val\n","input":"","output":"Answer: The answer is C."}]`))
	require.NoError(t, err)
	require.Equal(t, []string{"A", "B", "C"}, items[0].Choices)
	require.Equal(t, "Answer: The answer is B.", items[0].Candidates[1])
}

func TestNewReadsInputAndNumbers(t *testing.T) {
	b := New("sums", Number, nil)
	items, err := b.Read("sums.jsonl", reader("{\"instruction\":\"Add.\",\"input\":\"1 and 2\",\"output\":\"One and two make three.\\nThe answer is: 3\"}\n\n{\"instruction\":\"Halve 5.\",\"output\":\"The answer is: 2.5\"}\n"))
	require.NoError(t, err)
	require.Equal(t, alpaca.Prompt("Add.", "1 and 2"), items[0].Prompt)
	require.Equal(t, Answer("3"), items[0].Gold)
	require.Equal(t, Answer("2.5"), items[1].Gold)
	require.Nil(t, items[1].Candidates)
}
