package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"alphalora/eval"
	"alphalora/internal/atomicfile"
)

// swept is the JSON of the verb sweep. Accuracies are shares of 1, a run's is the mean over
// its benchmarks.
type swept struct {
	Model       string            `json:"model"`
	Output      string            `json:"output"`
	Engine      string            `json:"engine"`
	Planned     int               `json:"planned"` // cells, of which Cells are done
	Benchmarks  []string          `json:"benchmarks"`
	ZeroShot    []string          `json:"zero_shot,omitempty"` // those that the data do not teach
	Cells       []sweptCell       `json:"cells"`
	Groups      []sweptGroup      `json:"groups"`
	Comparisons []sweptComparison `json:"comparisons"`
}

// sweptCell is a cell that is done.
type sweptCell struct {
	cell
	Allocation []int        `json:"allocation"` // experts of each layer
	Rank       int          `json:"r"`
	Trainable  int          `json:"trainable_parameters"`
	Run        string       `json:"run"`                   // its directory
	SharedWith string       `json:"shared_with,omitempty"` // the strategy of an earlier cell whose run it is
	Accuracy   float64      `json:"accuracy"`              // over the benchmarks that the data teach
	ZeroShot   *float64     `json:"zero_shot_accuracy,omitempty"`
	Scores     []sweptScore `json:"scores"`
	graded     []eval.Graded
}

type sweptScore struct {
	Benchmark string `json:"benchmark"`
	Items     int    `json:"items"`
	Correct   int    `json:"correct"`
}

// sweptGroup are the cells that differ in their seed only.
type sweptGroup struct {
	Strategy   string       `json:"strategy"`
	Metric     string       `json:"metric,omitempty"`
	Experts    int          `json:"experts"`
	Allocation []int        `json:"allocation"`
	Trainable  int          `json:"trainable_parameters"`
	Seeds      []int64      `json:"seeds"`
	SharedWith string       `json:"shared_with,omitempty"` // the strategy whose runs all of these are
	Accuracy   eval.Spread  `json:"accuracy"`
	Pooled     pooled       `json:"pooled"`
	ZeroShot   *eval.Spread `json:"zero_shot_accuracy,omitempty"`
	cells      []sweptCell
}

func (g sweptGroup) label() string { return cell{Strategy: g.Strategy, Metric: g.Metric}.label() }

// pooled are the items of all seeds together, as if each were asked anew. Seeds share their
// items, so this interval tells of the items and not of the seeds.
type pooled struct {
	Items    int        `json:"items"`
	Correct  int        `json:"correct"`
	Accuracy float64    `json:"accuracy"`
	CI95     [2]float64 `json:"ci95"` // see [eval.Wilson]
}

// sumUp reads the cells that are done.
func (s *sweeping) sumUp(p *plan) (*swept, error) {
	result := &swept{Model: s.base.Model, Output: s.base.Output, Engine: p.MadeFrom["engine"], Planned: len(p.trials),
		Benchmarks: s.benchmarks, ZeroShot: s.zeroShot, Cells: []sweptCell{}, Comparisons: []sweptComparison{}}
	for _, t := range p.trials {
		done, err := t.done()
		if err != nil {
			return nil, err
		}
		if !done {
			continue
		}
		c := sweptCell{cell: t.cell, Allocation: t.Allocation, Rank: t.run.Adapter.R, Trainable: t.Trainable, Run: t.dir}
		if t.sharedWith >= 0 {
			c.SharedWith = p.trials[t.sharedWith].label()
		}
		if err := c.read(t.evalPath(), s); err != nil {
			return nil, err
		}
		result.Cells = append(result.Cells, c)
	}
	result.group()
	return result, result.compare()
}

// read takes in a run's answers.
func (c *sweptCell) read(path string, s *sweeping) (err error) {
	if c.graded, err = eval.ReadGraded(path); err != nil {
		return err
	}
	for _, g := range c.graded {
		c.Scores = append(c.Scores, sweptScore{g.Benchmark, len(g.Outcomes), strings.Count(g.Outcomes, "c")})
	}
	c.Accuracy = c.mean(s.taught())
	if len(s.zeroShot) > 0 {
		zero := c.mean(s.zeroShot)
		c.ZeroShot = &zero
	}
	return nil
}

// mean is the mean of the accuracies on some of the benchmarks.
func (c *sweptCell) mean(of []string) float64 {
	sum := 0.0
	for _, s := range c.Scores {
		if slices.Contains(of, s.Benchmark) {
			sum += float64(s.Correct) / float64(s.Items)
		}
	}
	return sum / float64(len(of))
}

// group puts the cells together that differ in their seed only, by ascending totals and
// otherwise in the order of the calls.
func (r *swept) group() {
	for _, c := range r.Cells {
		at := slices.IndexFunc(r.Groups, func(g sweptGroup) bool {
			return g.Strategy == c.Strategy && g.Metric == c.Metric && g.Experts == c.Experts
		})
		if at < 0 {
			at = len(r.Groups)
			r.Groups = append(r.Groups, sweptGroup{Strategy: c.Strategy, Metric: c.Metric, Experts: c.Experts,
				Allocation: c.Allocation, Trainable: c.Trainable, SharedWith: c.SharedWith})
		}
		g := &r.Groups[at]
		g.cells, g.Seeds = append(g.cells, c), append(g.Seeds, c.Seed)
		if g.SharedWith != c.SharedWith {
			g.SharedWith = ""
		}
	}
	for i := range r.Groups {
		r.Groups[i].summarise(r.ZeroShot)
	}
	slices.SortStableFunc(r.Groups, func(x, y sweptGroup) int { return x.Experts - y.Experts })
}

func (g *sweptGroup) summarise(zeroShot []string) {
	var accuracies, zero []float64
	for _, c := range g.cells {
		accuracies = append(accuracies, c.Accuracy)
		if c.ZeroShot != nil {
			zero = append(zero, *c.ZeroShot)
		}
		for _, s := range c.Scores {
			if !slices.Contains(zeroShot, s.Benchmark) {
				g.Pooled.Items, g.Pooled.Correct = g.Pooled.Items+s.Items, g.Pooled.Correct+s.Correct
			}
		}
	}
	g.Accuracy = eval.NewSpread(accuracies, false)
	g.Pooled.Accuracy = float64(g.Pooled.Correct) / float64(g.Pooled.Items)
	g.Pooled.CI95[0], g.Pooled.CI95[1] = eval.Wilson(g.Pooled.Correct, g.Pooled.Items)
	if len(zero) > 0 {
		spread := eval.NewSpread(zero, false)
		g.ZeroShot = &spread
	}
}

// print prints the groups and the comparisons as tables.
func (r *swept) print(w io.Writer) error {
	if len(r.Cells) < r.Planned {
		_, _ = fmt.Fprintf(w, "%d of %d cells are done\n", len(r.Cells), r.Planned)
	}
	if err := aligned(w, groupColumns, r.groupRows()); err != nil {
		return err
	}
	if len(r.Comparisons) == 0 {
		return nil
	}
	_, _ = fmt.Fprintln(w)
	if err := aligned(w, comparisonColumns, r.comparisonRows()); err != nil {
		return err
	}
	for _, c := range r.Comparisons {
		_, _ = fmt.Fprintf(w, "%s\n", c.Verdict)
	}
	_, err := fmt.Fprintf(w, "report: %s\n", filepath.Join(r.Output, "sweep.html"))
	return err
}

func aligned(w io.Writer, columns []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range append([][]string{columns}, rows...) {
		_, _ = fmt.Fprintln(t, strings.Join(row, "\t")+"\t")
	}
	return t.Flush()
}

var groupColumns = []string{"strategy", "experts", "each layer", "trainable", "seeds", "accuracy, %", "sd", "95 % over seeds", "items", "right, %", "95 % over items", "zero-shot, %", "95 % over seeds", "runs"}

func (r *swept) groupRows() (rows [][]string) {
	for _, g := range r.Groups {
		zero, zeroInterval, runs := "-", "-", "own"
		if g.ZeroShot != nil {
			zero, zeroInterval = points(g.ZeroShot.Mean), interval(g.ZeroShot.CI95)
		}
		if g.SharedWith != "" {
			runs = "those of " + g.SharedWith
		}
		rows = append(rows, []string{g.label(), strconv.Itoa(g.Experts), joined(g.Allocation), strconv.Itoa(g.Trainable), strconv.Itoa(len(g.Seeds)),
			points(g.Accuracy.Mean), optional(g.Accuracy.SD), interval(g.Accuracy.CI95),
			strconv.Itoa(g.Pooled.Items), points(g.Pooled.Accuracy), interval(&g.Pooled.CI95), zero, zeroInterval, runs})
	}
	return rows
}

// points are hundredths, with two digits after the point: between seeds one is too few.
func points(share float64) string { return fmt.Sprintf("%.2f", 100*share) }

func optional(share *float64) string {
	if share == nil {
		return "-"
	}
	return points(*share)
}

func interval(of *[2]float64) string {
	if of == nil {
		return "-"
	}
	return points(of[0]) + " to " + points(of[1])
}

func joined(counts []int) string { return strings.Trim(fmt.Sprint(counts), "[]") }

// writeCSV writes a line for each cell and benchmark.
func (r *swept) writeCSV(path string) error {
	return atomicfile.Write(path, func(w io.Writer) error {
		out := csv.NewWriter(w)
		lines := [][]string{{"strategy", "metric", "experts", "seed", "allocation", "r", "trainable_parameters", "run", "shared_with", "benchmark", "zero_shot", "items", "correct", "accuracy"}}
		for _, c := range r.Cells {
			for _, s := range c.Scores {
				lines = append(lines, []string{c.Strategy, c.Metric, strconv.Itoa(c.Experts), strconv.FormatInt(c.Seed, 10), joined(c.Allocation), strconv.Itoa(c.Rank),
					strconv.Itoa(c.Trainable), c.Run, c.SharedWith, s.Benchmark, strconv.FormatBool(slices.Contains(r.ZeroShot, s.Benchmark)),
					strconv.Itoa(s.Items), strconv.Itoa(s.Correct), strconv.FormatFloat(float64(s.Correct)/float64(s.Items), 'g', -1, 64)})
			}
		}
		return out.WriteAll(lines)
	})
}
