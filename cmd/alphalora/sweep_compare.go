package main

import (
	"fmt"
	"slices"
	"strconv"

	"alphalora/eval"
)

// sweptComparison holds alphalora, by the first metric that it was run with, against another
// group of the same total, over the seeds that both have.
type sweptComparison struct {
	Experts    int             `json:"experts"`
	Of         string          `json:"of"`
	Against    string          `json:"against"`
	On         string          `json:"on"` // fine-tuned or zero-shot
	Seeds      []int64         `json:"seeds"`
	SameRuns   bool            `json:"same_runs"`  // both give the same experts
	Difference eval.Spread     `json:"difference"` // of accuracies, seed by seed
	Pooled     eval.Comparison `json:"pooled"`     // of all items of all seeds, B is alphalora
	Verdict    string          `json:"verdict"`
}

// On which benchmarks a comparison is.
const (
	onTaught   = "fine-tuned"
	onZeroShot = "zero-shot"
)

// compare makes all comparisons.
func (r *swept) compare() error {
	for i, g := range r.Groups {
		at := slices.IndexFunc(r.Groups, func(o sweptGroup) bool { return o.Strategy == "alphalora" && o.Experts == g.Experts })
		if at < 0 || at == i {
			continue
		}
		for _, on := range []string{onTaught, onZeroShot} {
			if on == onZeroShot && len(r.ZeroShot) == 0 {
				continue
			}
			c, err := r.against(r.Groups[at], g, on)
			if err != nil {
				return err
			}
			if len(c.Seeds) > 0 {
				r.Comparisons = append(r.Comparisons, c)
			}
		}
	}
	return nil
}

// against compares two groups seed by seed and item by item.
func (r *swept) against(of, other sweptGroup, on string) (sweptComparison, error) {
	c := sweptComparison{Experts: of.Experts, Of: of.label(), Against: other.label(), On: on, SameRuns: true}
	var differences []float64
	var items []eval.Comparison
	for _, b := range of.cells {
		at := slices.IndexFunc(other.cells, func(a sweptCell) bool { return a.Seed == b.Seed })
		if at < 0 {
			continue
		}
		a := other.cells[at]
		c.Seeds, c.SameRuns = append(c.Seeds, b.Seed), c.SameRuns && a.Run == b.Run
		if on == onTaught {
			differences = append(differences, b.Accuracy-a.Accuracy)
		} else {
			differences = append(differences, *b.ZeroShot-*a.ZeroShot)
		}
		for _, g := range a.graded {
			same := slices.IndexFunc(b.graded, func(o eval.Graded) bool { return o.Benchmark == g.Benchmark })
			if same < 0 || slices.Contains(r.ZeroShot, g.Benchmark) != (on == onZeroShot) {
				continue
			}
			one, err := eval.Compare(g, b.graded[same])
			if err != nil {
				return c, err
			}
			items = append(items, one)
		}
	}
	if len(c.Seeds) == 0 {
		return c, nil
	}
	c.Difference, c.Pooled = eval.NewSpread(differences, true), eval.Pool(items)
	c.Verdict = c.verdict()
	return c, nil
}

// level is the probability of an error that a verdict accepts.
const level = 0.05

// verdict says in a sentence what the difference is worth. Seeds decide: the items' test
// takes the runs as they are.
func (c sweptComparison) verdict() string {
	head := fmt.Sprintf("%s against %s, %d experts, %s: ", c.Of, c.Against, c.Experts, c.On)
	d := c.Difference
	size := fmt.Sprintf("%+.2f points", 100*d.Mean)
	switch {
	case c.SameRuns:
		return head + "the same experts, and so the same runs."
	case d.P == nil:
		return head + size + " with one seed, which tells nothing of others."
	case *d.P < level && d.Mean > 0:
		return head + fmt.Sprintf("better by %s (p %.2g over %d seeds).", size, *d.P, len(c.Seeds))
	case *d.P < level:
		return head + fmt.Sprintf("worse by %s (p %.2g over %d seeds).", size, *d.P, len(c.Seeds))
	}
	return head + fmt.Sprintf("no difference is shown: %s, as seeds alone would make with probability %.2g.", size, *d.P)
}

var comparisonColumns = []string{"alphalora less", "experts", "on", "seeds", "difference, points", "sd", "95 % over seeds", "p, paired t",
	"items", "only alphalora", "only the other", "95 % over items", "p, McNemar"}

func (r *swept) comparisonRows() (rows [][]string) {
	for _, c := range r.Comparisons {
		row := []string{c.Against, strconv.Itoa(c.Experts), c.On, strconv.Itoa(len(c.Seeds))}
		if c.SameRuns {
			rows = append(rows, append(row, "0 (same runs)", "-", "-", "-", "-", "-", "-", "-", "-"))
			continue
		}
		p := "-"
		if c.Difference.P != nil {
			p = fmt.Sprintf("%.3g", *c.Difference.P)
		}
		rows = append(rows, append(row, fmt.Sprintf("%+.2f", 100*c.Difference.Mean), optional(c.Difference.SD), interval(c.Difference.CI95), p,
			strconv.Itoa(c.Pooled.Items), strconv.Itoa(c.Pooled.OnlyB), strconv.Itoa(c.Pooled.OnlyA), interval(&c.Pooled.CI95), fmt.Sprintf("%.3g", c.Pooled.P)))
	}
	return rows
}
