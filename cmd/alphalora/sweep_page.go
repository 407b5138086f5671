package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"alphalora/alphalora"
	"alphalora/eval"
	"alphalora/internal/report"
)

// publish writes what a sweep has come to into its output directory: JSON, CSV, a page, and
// the page's charts as files.
func (a *app) publish(r *swept, p *plan) error {
	page := report.Page{Title: "Sweep of " + filepath.Base(filepath.Clean(r.Model)),
		Subtitle: "Strategies, totals of experts, metrics and seeds over one configuration",
		Facts: []report.Fact{{Label: "Cells done, of " + strconv.Itoa(r.Planned), Value: strconv.Itoa(len(r.Cells))},
			{Label: "Runs", Value: strconv.Itoa(r.runs())}, {Label: "Engine", Value: r.Engine}}}
	charts := filepath.Join(r.Output, "charts")
	if err := os.MkdirAll(charts, 0o755); err != nil {
		return err
	}
	for _, f := range r.figures(p) {
		page.Sections = append(page.Sections, f.section)
		if f.section.Chart != nil {
			if err := f.section.Chart.Export(filepath.Join(charts, f.name)); err != nil {
				return err
			}
		}
	}
	page.Sections = append(page.Sections,
		report.Section{Heading: "All groups", Text: groupsText, Table: &report.Table{Caption: "Accuracy", Columns: groupColumns, Rows: r.groupRows(), Sortable: true}})
	if len(r.Comparisons) > 0 {
		section := report.Section{Heading: "alphalora against the others", Text: comparisonsText,
			Table: &report.Table{Caption: "Paired differences", Columns: comparisonColumns, Rows: r.comparisonRows(), Sortable: true}}
		for _, c := range r.Comparisons {
			section.Text += "\n\n" + c.Verdict
		}
		page.Sections = append(page.Sections, section)
	}
	return errors.Join(a.writeJSON(filepath.Join(r.Output, "sweep.json"), r), r.writeCSV(filepath.Join(r.Output, "sweep.csv")),
		report.Write(filepath.Join(r.Output, "sweep.html"), page))
}

const (
	groupsText = "Accuracy is the mean over the benchmarks that the data teach; its interval is Student's over seeds. The interval over items is Wilson's, of the items of all seeds together: it tells nothing of seeds."

	comparisonsText = "Differences are taken seed by seed, and item by item over all seeds (McNemar's exact test). Of twenty comparisons of equals, one falls below p = 0.05 by chance."
)

// runs counts what was trained.
func (r *swept) runs() int {
	n := 0
	for _, c := range r.Cells {
		if c.SharedWith == "" {
			n++
		}
	}
	return n
}

// figure is a section of the page and the name of its chart's files.
type figure struct {
	name    string
	section report.Section
}

// figures are those of the paper, for this model.
func (r *swept) figures(p *plan) []figure {
	alpha := report.Section{Heading: "Figure 2: how well each layer is trained", Text: "The exponent of the tail of each layer's spectra, a mean over its seven projections. Larger is less well trained."}
	if chart, ok := alphaChart([]*alphalora.Analysis{p.analysis}); ok {
		alpha.Chart = &chart
	}
	total := r.middle(p.layers)
	at := r.where(func(g sweptGroup) bool { return g.Experts == total && g.firstMetric() })
	var all []allocated
	for _, g := range at {
		if g.Strategy != plainLoRA {
			one := allocated{name: g.label()}
			for _, n := range g.Allocation {
				one.experts = append(one.experts, float64(n))
			}
			all = append(all, one)
		}
	}
	experts := report.Section{Heading: "Figure 3, left: experts of each layer", Text: fmt.Sprintf("%d experts, %.3g a layer (the paper's 160 for 32 layers are 5).", total, float64(total)/float64(p.layers))}
	if len(all) > 0 {
		chart := strategiesChart(fmt.Sprintf("Experts of each layer, %d in all", total), all)
		experts.Chart = &chart
	}
	return []figure{{"figure-2-alpha", alpha}, {"figure-3-experts", experts},
		{"figure-3-accuracy", r.accuracyFigure("Figure 3, right: accuracy of each strategy", fmt.Sprintf("Accuracy with %d experts", total), "strategy", at, sweptGroup.label)},
		{"figure-4-metrics", r.metricsFigure(total)}, {"figure-5-budgets", r.budgetsFigure()}}
}

// middle is the total that is nearest to five experts a layer, of those that were run.
func (r *swept) middle(layers int) int {
	best := r.Groups[0].Experts
	for _, g := range r.Groups {
		if distance(g.Experts, comparedPerLayer*layers) < distance(best, comparedPerLayer*layers) {
			best = g.Experts
		}
	}
	return best
}

func distance(x, y int) int { return max(x-y, y-x) }

func (r *swept) where(is func(sweptGroup) bool) (list []sweptGroup) {
	for _, g := range r.Groups {
		if is(g) {
			list = append(list, g)
		}
	}
	return list
}

// firstMetric tells whether a group goes by no metric, or by the paper's.
func (g sweptGroup) firstMetric() bool {
	return g.Metric == "" || g.Metric == alphalora.Metrics()[0].Name
}

// accuracyFigure is a bar for each group, with its interval over seeds.
func (r *swept) accuracyFigure(heading, title, xLabel string, groups []sweptGroup, name func(sweptGroup) string) report.Section {
	section := report.Section{Heading: heading, Text: "Whiskers are 95 % intervals over seeds."}
	if len(groups) == 0 {
		section.Text = "Nothing of it was run."
		return section
	}
	chart := report.GroupedBarChart{Title: title, XLabel: xLabel, YLabel: "accuracy, %", Groups: []report.Group{{Name: onTaught}}}
	if len(r.ZeroShot) > 0 {
		chart.Groups = append(chart.Groups, report.Group{Name: onZeroShot})
	}
	whiskers := true
	for _, g := range groups {
		chart.Labels = append(chart.Labels, name(g))
		for i, s := range g.spreads() {
			chart.Groups[i].Values = append(chart.Groups[i].Values, 100*s.Mean)
			if s.CI95 == nil {
				whiskers = false
				continue
			}
			chart.Groups[i].Intervals = append(chart.Groups[i].Intervals, [2]float64{100 * max(0, s.CI95[0]), 100 * min(1, s.CI95[1])})
		}
	}
	if !whiskers {
		section.Text = "One seed has no interval."
		for i := range chart.Groups {
			chart.Groups[i].Intervals = nil
		}
	}
	drawn := report.GroupedBars(chart)
	section.Chart = &drawn
	return section
}

// metricsFigure compares the metrics by which alphalora shares out.
func (r *swept) metricsFigure(total int) report.Section {
	groups := r.where(func(g sweptGroup) bool { return g.Experts == total && g.Metric != "" })
	section := r.accuracyFigure("Figure 4: metrics compared", fmt.Sprintf("Accuracy with %d experts shared out by each metric", total), "metric", groups,
		func(g sweptGroup) string { return g.Metric })
	for _, g := range groups {
		if g.SharedWith != "" {
			section.Text += fmt.Sprintf(" By %s the experts are those of %s.", g.Metric, g.SharedWith)
		}
	}
	return section
}

// budgetsFigure is a curve over totals for each strategy.
func (r *swept) budgetsFigure() report.Section {
	section := report.Section{Heading: "Figure 5: totals of experts compared", Text: "Means over seeds; their intervals are in the table."}
	chart := report.LineChart{Title: "Accuracy by total of experts", XLabel: "experts", YLabel: "accuracy, %"}
	for _, g := range r.where(sweptGroup.firstMetric) {
		at := slices.IndexFunc(chart.Series, func(s report.Series) bool { return s.Name == g.label() })
		if at < 0 {
			at = len(chart.Series)
			chart.Series = append(chart.Series, report.Series{Name: g.label(), Style: report.Markers})
		}
		s := &chart.Series[at]
		s.X, s.Y = append(s.X, float64(g.Experts)), append(s.Y, 100*g.Accuracy.Mean)
	}
	chart.Series = slices.DeleteFunc(chart.Series, func(s report.Series) bool { return len(s.X) < 2 })
	if len(chart.Series) == 0 {
		section.Text = "No strategy was run with two totals."
		return section
	}
	drawn := report.Lines(chart)
	section.Chart = &drawn
	return section
}

// spreads are what a group has: of the benchmarks that the data teach, and of the others.
func (g sweptGroup) spreads() []eval.Spread {
	if g.ZeroShot == nil {
		return []eval.Spread{g.Accuracy}
	}
	return []eval.Spread{g.Accuracy, *g.ZeroShot}
}
