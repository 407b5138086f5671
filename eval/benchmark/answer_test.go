package benchmark

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/fault"
)

// none marks a text without a readable answer.
const none = Answer("\x00")

// hard lists what each rule reads in a text: strict, first, last.
type hard struct {
	text                string
	strict, first, last Answer
}

func checkHard(t *testing.T, f Format, choices []string, cases []hard) {
	t.Helper()
	require.NotEmpty(t, cases)
	for _, c := range cases {
		for rule, want := range map[Rule]Answer{Strict: c.strict, First: c.first, Last: c.last} {
			got, ok := f.Read(c.text, rule, choices)
			if want == none {
				require.False(t, ok, "%q by %s: read %q", c.text, rule, got)
				continue
			}
			require.True(t, ok, "%q by %s: nothing read", c.text, rule)
			require.Equal(t, want, got, "%q by %s", c.text, rule)
		}
	}
}

func TestChoiceAnswers(t *testing.T) {
	checkHard(t, Choice, []string{"A", "B", "C", "D"}, []hard{
		{"Answer: The answer is B.", "B", "B", "B"},
		{"The answer is B", "B", "B", "B"},
		{"The answer is B\n", "B", "B", "B"},
		{"The answer is B, because it floats.", "B", "B", "B"},
		{"The answer is B (water).", "B", "B", "B"},
		{"The answer is A. No: The answer is C.", none, "A", "C"},
		{"The answer is B. The answer is B.", none, "B", "B"},
		{"The answer is E.", none, none, none},
		{"The answer is E. The answer is A.", none, none, "A"},
		{"The answer is b.", none, none, none},
		{"the answer is B.", none, none, none},
		{"The answer is (B).", none, none, none},
		{"The answer is A dog.", none, none, none},
		{"The answer is Bread.", none, none, none},
		{"The answer is A or B.", none, none, none},
		{"B", none, none, none},
		{"Answer: B.", none, none, none},
		{"", none, none, none},
	})
}

func TestLabelAnswers(t *testing.T) {
	checkHard(t, Label, []string{"equivalent", "not equivalent"}, []hard{
		{"Answer: equivalent.", "equivalent", "equivalent", "equivalent"},
		{"Answer: not equivalent.", "not equivalent", "not equivalent", "not equivalent"},
		{"Answer: not equivalent", "not equivalent", "not equivalent", "not equivalent"},
		{"Answer: equivalent\n\nThey are not equivalent.", "equivalent", "equivalent", "equivalent"},
		{"Answer:  equivalent .", "equivalent", "equivalent", "equivalent"},
		{"Answer: equivalent, I think.", "equivalent", "equivalent", "equivalent"},
		{"Answer: equivalent to the second.", none, none, none},
		{"Answer: hardly equivalent.", none, none, none},
		{"Answer: notequivalent.", none, none, none},
		{"Answer: Equivalent.", none, none, none},
		{"answer: equivalent.", none, none, none},
		{"equivalent", none, none, none},
		{"Answer: equivalent. Answer: not equivalent.", none, "equivalent", "not equivalent"},
		{"Answer: maybe. Answer: equivalent.", none, none, "equivalent"},
		{"Answer: ", none, none, none},
		{"Answer: .", none, none, none},
		{"", none, none, none},
	})
}

func TestLabelThatHoldsAnother(t *testing.T) {
	checkHard(t, Label, []string{"acceptable", "unacceptable"}, []hard{
		{"Answer: unacceptable.", "unacceptable", "unacceptable", "unacceptable"},
		{"Answer: acceptable.", "acceptable", "acceptable", "acceptable"},
		{"Answer: un acceptable.", none, none, none},
	})
}

func all(a Answer) [3]Answer { return [3]Answer{a, a, a} }

func TestNumberAnswers(t *testing.T) {
	var cases []hard
	for text, want := range map[string][3]Answer{
		"The answer is: 18":                           all("18"),
		"The answer is: 18.":                          all("18"),
		"The answer is 18.":                           {none, "18", "18"},
		"The answer is 8.\nThe answer is: 8":          all("8"),
		"The answer is:18":                            all("18"),
		"The answer is:\n18\n":                        all("18"),
		"The answer is: -3":                           all("-3"),
		"The answer is: −3":                           all("-3"),
		"The answer is: +3":                           all("3"),
		"The answer is: $-3.":                         all("-3"),
		"The answer is: -$3.":                         all("-3"),
		"The answer is: 109,200,000":                  all("109200000"),
		"The answer is: $1,234.50.":                   all("1234.5"),
		"The answer is: € 4":                          all("4"),
		"The answer is: \\$5":                         all("5"),
		"The answer is: .5":                           all("0.5"),
		"The answer is: 0.125 mile.":                  all("0.125"),
		"The answer is: 1/2":                          all("0.5"),
		"The answer is: -1/2":                         all("-0.5"),
		"The answer is: 3 / 4 cup":                    all("0.75"),
		"The answer is: 1 1/2 hours":                  all("1.5"),
		"The answer is: \\frac{3}{4}":                 all("0.75"),
		"The answer is: 1\\frac{1}{2}":                all("1.5"),
		"The answer is: \\boxed{12}":                  all("12"),
		"The answer is: 1.5e3":                        all("1500"),
		"The answer is: 50%":                          all("50"),
		"The answer is: 5kg":                          all("5"),
		"The answer is: 3 + 4 = 7":                    all("7"),
		"The answer is: x = -7.":                      all("-7"),
		"The answer is: Tom has 5 left":               all("5"),
		"2 and 3 make 5. The answer is: 5":            all("5"),
		"The answer is: 5\nThat took 2 steps.":        all("5"),
		"The answer is: 5 apples in 2 days":           {none, "5", "5"},
		"The answer is: 5. The answer is: 6.":         {none, "5", "6"},
		"The answer is: many. The answer is: 6.":      {none, none, "6"},
		"The answer is: many, of 12":                  all("12"),
		"12 in all. The answer is: many":              all(none),
		"12 in all. The answer is:":                   all(none),
		"The answer is: 1,23":                         all(none),
		"The answer is: 12,3456":                      all(none),
		"The answer is: 1.2.3":                        all(none),
		"The answer is: 1/0":                          all(none),
		"The answer is: 1/2/2020":                     all(none),
		"The answer is: 5:30":                         all(none),
		"The answer is: 2:3":                          all(none),
		"The answer is: 10^3":                         all(none),
		"The answer is: 10^{-3}":                      all(none),
		"The answer is: 20 m^2":                       all("20"),
		"The answer is: ½":                            all(none),
		"The answer is: 1,000,000 dollars":            all("1000000"),
		"The answer is: £3.50 each.":                  all("3.5"),
		"The answer is: **42**":                       all("42"),
		"The answer is: 2 1/4 %":                      all("2.25"),
		"The answer is: -0.0":                         all("-0"),
		"The answer is: - 5":                          all(none),
		"The answer is: B12":                          all(none),
		"The answer is: 1" + strings.Repeat("0", 400): all(none),
		"The answer is: one":                          all(none),
		"So 10 - 3 = 7 remain.":                       {none, "10", "7"},
		"10-3 is 7":                                   {none, "10", "7"},
		"8-3":                                         {none, "8", "3"},
		"(8)-3":                                       {none, "8", "3"},
		"It cost $1,000, not $900.":                   {none, "1000", "900"},
		"- 4 apples":                                  all(none),
		"- $4":                                        all(none),
		"no digits":                                   all(none),
		"":                                            all(none),
		"the answer is: 4":                            {none, "4", "4"},
		"#### 4":                                      {none, "4", "4"},
	} {
		cases = append(cases, hard{text, want[0], want[1], want[2]})
	}
	checkHard(t, Number, nil, cases)
}

func TestNumberEqual(t *testing.T) {
	for _, c := range []struct {
		a, gold Answer
		want    bool
	}{
		{"18", "18", true}, {"18.0", "18", true}, {"18.001", "18", true}, {"18.0011", "18", false}, {"17.999", "18", true},
		{"-18", "18", false}, {"1800", "18", false}, {"0.18", "18", false}, {"10", "9.8", false}, {"9.8", "9.8", true},
		{"0.333", "0.3333333333333333", true}, {"0.167", "0.16666666666666666", true}, {"0.33", "0.3333333333333333", false},
		{"0.0808", "0.08", true}, {"0.081", "0.08", false}, {"0.0001", "0.0002", false}, {"0", "0", true}, {"0.0005", "0", false}, {"70050", "70000", false}, {"70000.0005", "70000", true},
		{"", "0", false}, {"1 2", "1", false}, {"-0", "0", true}, {"0.05", "5", false}, {"500", "5", false}, {"3/4", "0.75", true}, {"109,200,000", "109200000", true},
	} {
		require.Equal(t, c.want, Number.Equal(c.a, c.gold), "%s against %s", c.a, c.gold)
	}
}

func TestGradeEndsAtAResponseHeader(t *testing.T) {
	b := cola()
	it := Item{Gold: "acceptable", Choices: b.Labels}
	text := "Answer: acceptable.\n\n### Response:\nAnswer: unacceptable."
	for _, rule := range []Rule{Default, Strict, First, Last} {
		answer, correct, parsed := b.Grade(it, text, rule)
		require.True(t, correct && parsed)
		require.Equal(t, Answer("acceptable"), answer)
	}
	_, correct, parsed := b.Grade(it, "I cannot say.", Default)
	require.False(t, correct || parsed)
}

func TestParseRule(t *testing.T) {
	for _, name := range []string{"", "strict", "first", "last"} {
		rule, err := ParseRule(name)
		require.NoError(t, err)
		require.Equal(t, Rule(name), rule)
	}
	_, err := ParseRule("lenient")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
}

func FuzzAnswers(f *testing.F) {
	for _, s := range []string{"", "Answer: The answer is B.", "Answer: no.", "The answer is: -$1,234.50.", "1 1/2/3", "−\xff5", `\frac{1}{0}`, "1e9999", "The answer is: - 5", "B12.5,6"} {
		f.Add(s)
	}
	choices := []string{"A", "B", "no", "not no"}
	f.Fuzz(func(t *testing.T, text string) {
		for _, format := range []Format{Choice, Label, Number} {
			for _, rule := range []Rule{Strict, First, Last} {
				answer, ok := format.Read(text, rule, choices)
				if !ok {
					continue
				}
				require.True(t, format.Equal(answer, answer), "%q is not itself", answer)
				again, ok := format.Read(format.Write(answer), Strict, choices)
				if format == Label || format == Choice {
					require.Contains(t, choices, string(answer))
				}
				if format == Choice && len(answer) > 1 {
					t.Fatalf("%q is no letter", answer)
				}
				require.True(t, ok, "%q is not read back", answer)
				require.Equal(t, answer, again)
			}
		}
	})
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{"", "[", "[{}]", `{"instruction":"x (A) y (B) z","output":"Answer: The answer is A."}`, `[{"question":"q","choices":{"label":["A","B"],"text":["x","y"]},"answerKey":"A"}]`, `{"question":"q","answer":"#### 4"}`, `[{"sQuestion":"q","lSolutions":["1"]}]`, `[{"ID":"1","Body":"b","Question":"q","Answer":2e0}]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, b := range All() {
			items, err := b.Read("f", strings.NewReader(text))
			if err != nil {
				require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
				continue
			}
			require.NotEmpty(t, items)
			for _, it := range items {
				_, correct, _ := b.Grade(it, b.Format.Write(it.Gold), Strict)
				require.True(t, correct)
			}
		}
	})
}
