package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"alphalora/eval"
	"alphalora/internal/fault"
)

// compared is the JSON of the verb compare.
type compared struct {
	A           string            `json:"a"`
	B           string            `json:"b"`
	Comparisons []eval.Comparison `json:"comparisons"`
	All         *eval.Comparison  `json:"all,omitempty"` // over all items, of several benchmarks
	Left        []string          `json:"left_out,omitempty"`
}

func compareCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "compare A.json B.json",
		Short: "tell whether two scores of the same items differ by more than chance",
		Long: `compare takes two files of the verb eval, its --json or its --samples, of the same
benchmarks and prompts, and holds them against each other item by item: McNemar's exact
test, the 95 % interval of the difference, and a sentence.`,
		Args:    cobra.ExactArgs(2),
		Example: "  alphalora compare base.json tuned.json",
	}
	jsonPath := addJSON(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		c, err := compareFiles(args[0], args[1])
		if err != nil {
			return err
		}
		if err := c.print(a.text(*jsonPath)); err != nil {
			return err
		}
		return a.writeJSON(*jsonPath, c)
	}
	return cmd
}

func compareFiles(pathA, pathB string) (compared, error) {
	c := compared{A: pathA, B: pathB}
	listA, err := eval.ReadGraded(pathA)
	if err != nil {
		return c, err
	}
	listB, err := eval.ReadGraded(pathB)
	if err != nil {
		return c, err
	}
	other := map[string]eval.Graded{}
	for _, b := range listB {
		other[b.Benchmark] = b
	}
	for _, a := range listA {
		b, ok := other[a.Benchmark]
		if !ok {
			c.Left = append(c.Left, a.Benchmark)
			continue
		}
		delete(other, a.Benchmark)
		one, err := eval.Compare(a, b)
		if err != nil {
			return c, err
		}
		c.Comparisons = append(c.Comparisons, one)
	}
	for _, b := range listB {
		if _, left := other[b.Benchmark]; left {
			c.Left = append(c.Left, b.Benchmark)
		}
	}
	if len(c.Comparisons) == 0 {
		return c, fault.Input(pathA+" and "+pathB, "evaluate both on the same benchmark", "have no benchmark in common")
	}
	if len(c.Comparisons) > 1 {
		all := eval.Pool(c.Comparisons)
		c.All = &all
	}
	return c, nil
}

func (c compared) print(w io.Writer) error {
	rows := c.Comparisons
	if c.All != nil {
		rows = append(rows[:len(rows):len(rows)], *c.All)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "benchmark\titems\tA\tB\tB - A\t95 % interval\tonly A\tonly B\tp\t")
	for _, r := range rows {
		_, _ = fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%+.1f\t%+.1f to %+.1f\t%d\t%d\t%.3g\t\n", r.Benchmark, r.Items, percent(r.A.Accuracy), percent(r.B.Accuracy),
			100*r.Difference, 100*r.CI95[0], 100*r.CI95[1], r.OnlyA, r.OnlyB, r.P)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		_, _ = fmt.Fprintf(w, "%s: %s\n", r.Benchmark, r.Verdict)
	}
	for _, name := range c.Left {
		_, _ = fmt.Fprintf(w, "%s: left out, for only one of the files has it\n", name)
	}
	return nil
}
