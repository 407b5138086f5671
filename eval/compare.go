package eval

import (
	"fmt"
	"math"

	"alphalora/internal/fault"
)

// Graded is one benchmark's items and which of them were answered rightly.
type Graded struct {
	Benchmark    string
	PromptSHA256 string
	Outcomes     string // as in [Result]
}

func (g Graded) correct() int {
	n := 0
	for i := range g.Outcomes {
		if g.Outcomes[i] == 'c' {
			n++
		}
	}
	return n
}

// Comparison is two scores of the same items.
type Comparison struct {
	Benchmark   string     `json:"benchmark"`
	Items       int        `json:"items"`
	A           Side       `json:"a"`
	B           Side       `json:"b"`
	Both        int        `json:"both"` // items that both got right
	OnlyA       int        `json:"only_a"`
	OnlyB       int        `json:"only_b"`
	Neither     int        `json:"neither"`
	Difference  float64    `json:"difference"` // accuracy of B less that of A
	CI95        [2]float64 `json:"ci95"`       // of the difference, see [PairedInterval]
	P           float64    `json:"p"`          // see [McNemar]
	Test        string     `json:"test"`       // "mcnemar-exact"
	Significant bool       `json:"significant"`
	Verdict     string     `json:"verdict"`
}

// Side is one of the two scores.
type Side struct {
	Correct  int        `json:"correct"`
	Accuracy float64    `json:"accuracy"`
	CI95     [2]float64 `json:"ci95"` // see [Wilson]
}

// level is the probability of an error that a verdict accepts.
const level = 0.05

// Compare holds two scores of the same items against each other. Scores of other items
// (another count, or prompts of another hash) are bad input.
func Compare(a, b Graded) (Comparison, error) {
	what := fmt.Sprintf("the two scores of %s", a.Benchmark)
	switch {
	case len(a.Outcomes) != len(b.Outcomes):
		return Comparison{}, fault.Input(what, "evaluate both on the same items", "are of %d and of %d items", len(a.Outcomes), len(b.Outcomes))
	case a.PromptSHA256 != b.PromptSHA256:
		return Comparison{}, fault.Input(what, "evaluate both with the same prompts", "are of other prompts: SHA-256 %.16s and %.16s", a.PromptSHA256, b.PromptSHA256)
	}
	c := Comparison{Benchmark: a.Benchmark}
	for i := range a.Outcomes {
		switch right, also := a.Outcomes[i] == 'c', b.Outcomes[i] == 'c'; {
		case right && also:
			c.Both++
		case right:
			c.OnlyA++
		case also:
			c.OnlyB++
		default:
			c.Neither++
		}
	}
	return c.judged(), nil
}

// Pool is the comparison over the items of several.
func Pool(list []Comparison) Comparison {
	all := Comparison{Benchmark: "all"}
	for _, c := range list {
		all.Both, all.OnlyA, all.OnlyB, all.Neither = all.Both+c.Both, all.OnlyA+c.OnlyA, all.OnlyB+c.OnlyB, all.Neither+c.Neither
	}
	return all.judged()
}

// judged fills in what follows from the four counts.
func (c Comparison) judged() Comparison {
	c.Items = c.Both + c.OnlyA + c.OnlyB + c.Neither
	c.A, c.B = side(c.Both+c.OnlyA, c.Items), side(c.Both+c.OnlyB, c.Items)
	c.Difference = c.B.Accuracy - c.A.Accuracy
	c.CI95[0], c.CI95[1] = PairedInterval(c.OnlyB, c.OnlyA, c.Items)
	c.P, c.Test = McNemar(c.OnlyA, c.OnlyB), "mcnemar-exact"
	c.Significant = c.P < level
	c.Verdict = c.verdict()
	return c
}

func side(correct, items int) Side {
	s := Side{Correct: correct, Accuracy: float64(correct) / float64(items)}
	s.CI95[0], s.CI95[1] = Wilson(correct, items)
	return s
}

// verdict says in a sentence whether the difference means anything.
func (c Comparison) verdict() string {
	better, more, less := "B", c.OnlyB, c.OnlyA
	if c.OnlyA > c.OnlyB {
		better, more, less = "A", c.OnlyA, c.OnlyB
	}
	counts := fmt.Sprintf("%d items only %s got right, %d only the other", more, better, less)
	switch {
	case more+less == 0:
		return "There is no difference: both got the same items right."
	case c.Significant:
		return fmt.Sprintf("%s is better: were both equally good, chance would make a difference this large with probability %.2g (%s).", better, c.P, counts)
	case more == less:
		return fmt.Sprintf("No difference is shown: each got %d items right that the other did not.", more)
	default:
		return fmt.Sprintf("No difference is shown: were both equally good, chance would make one this large with probability %.2g (%s).", c.P, counts)
	}
}

// McNemar is the exact two-sided probability that, of the items that exactly one of two
// equally good models got right, the smaller share is as small as it is: McNemar's test
// (1947) by the binomial distribution,
//
//	p = min(1, 2·P(X ≤ min(onlyA, onlyB))),  X ~ Binomial(onlyA + onlyB, ½)
//
// exact for few such items and many; 1 for none.
func McNemar(onlyA, onlyB int) float64 {
	n, k := onlyA+onlyB, min(onlyA, onlyB)
	p := 0.0
	for i := range k + 1 {
		p += math.Exp(logChoose(n, i) - float64(n)*math.Ln2)
	}
	return min(1, 2*p)
}

// logChoose is the natural logarithm of n over k.
func logChoose(n, k int) float64 {
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return a - b - c
}

// PairedInterval is the 95 % interval of the difference between two accuracies on the same
// items, of which only the first got onlyFirst right, and only the second onlySecond: the
// adjusted Wald interval of Bonett and Price (2012),
//
//	d ± z √((p + q − d²)/(n + 2)),  p = (onlyFirst+1)/(n+2), q = (onlySecond+1)/(n+2), d = p − q
func PairedInterval(onlyFirst, onlySecond, items int) (low, high float64) {
	n := float64(items + 2)
	p, q := float64(onlyFirst+1)/n, float64(onlySecond+1)/n
	d := p - q
	half := z95 * math.Sqrt((p+q-d*d)/n)
	return max(-1, d-half), min(1, d+half)
}
