package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"alphalora/alphalora"
	"alphalora/internal/fault"
	"alphalora/internal/report"
)

// spectralPage is what the flags say about the page of an analysis.
type spectralPage struct {
	html, charts string // a file and a directory; what is empty is not written
	strategies   []string
	experts      int // of all layers together
}

func addSpectralPage(cmd *cobra.Command) *spectralPage {
	p := &spectralPage{}
	flags := cmd.Flags()
	flags.StringVar(&p.html, "html", "", "write a page with charts and a table to `FILE`")
	flags.StringVar(&p.charts, "charts", "", "write each chart of the page as SVG and PNG to `DIR`")
	flags.StringSliceVar(&p.strategies, "strategies", []string{"alphalora", "mola-2468", "mola-8642", "uniform"},
		"the page compares the experts of these `STRATEGIES`")
	flags.IntVar(&p.experts, "experts", 0, "how many experts that comparison shares out; 0 is 5 for each layer")
	return p
}

// check refuses, before anything is analysed, what the page cannot show.
func (p *spectralPage) check() error {
	for _, name := range p.strategies {
		strategy, err := alphalora.StrategyNamed(name)
		if err != nil {
			return err
		}
		if strategy.Name == "manual" {
			return fault.Input("--strategies "+name, "as alphalora, uniform or mola-2468", "a list of counts fits one model only")
		}
	}
	if p.experts < 0 || p.experts > alphalora.MaxExperts {
		return fault.Input(fmt.Sprintf("--experts %d", p.experts), "leave it out for 5 a layer", "must be from 0 to %d", alphalora.MaxExperts)
	}
	if p.charts == "" {
		return nil
	}
	if err := os.MkdirAll(p.charts, 0o755); err != nil {
		return fault.Input("--charts "+p.charts, "name a directory that you may write to", "cannot be made: %v", fault.Reason(err))
	}
	return writable("--charts", filepath.Join(p.charts, "alpha.svg"))
}

// namedChart is a chart and the name of its files.
type namedChart struct {
	name  string
	chart report.Chart
}

// writeSpectralPage writes the page of analyses and its charts.
func (a *app) writeSpectralPage(list []*alphalora.Analysis, p *spectralPage) error {
	if p.html == "" && p.charts == "" {
		return nil
	}
	names := modelNames(list)
	page := report.Page{Title: "Spectra of " + strings.Join(names, ", "),
		Subtitle: fmt.Sprintf("%s, estimator %s", list[0].Solver, list[0].Estimator)}
	var charts []namedChart
	alpha := report.Section{Heading: "How well each layer is trained",
		Text: "The exponent of the tail of each layer's spectra, a mean over its seven projections. Larger is less well trained."}
	if chart, ok := alphaChart(list); ok {
		alpha.Chart, charts = &chart, append(charts, namedChart{"alpha", chart})
	} else {
		alpha.Text = "No layer has an alpha."
	}
	page.Sections = append(page.Sections, alpha)
	if warnings := warningTable(list); len(warnings.Rows) > 0 {
		page.Sections = append(page.Sections, report.Section{Heading: "Warnings", Table: warnings})
	}
	for i, analysis := range list {
		page.Facts = append(page.Facts, modelFact(analysis, names[i]))
		experts := strategiesSection(analysis, names[i], p)
		if experts.Chart != nil {
			charts = append(charts, namedChart{"experts-" + slug(names[i]), *experts.Chart})
		}
		page.Sections = append(page.Sections, experts, densitySection(analysis, names[i]))
	}
	page.Sections = append(page.Sections, report.Section{Heading: "All matrices", Table: matrixTable(list)})
	if p.charts != "" {
		if err := a.exportCharts(list, charts, p.charts); err != nil {
			return err
		}
	}
	if p.html == "" {
		return nil
	}
	return report.Write(p.html, page)
}

// modelFact says how large a model is and how its layers range.
func modelFact(analysis *alphalora.Analysis, name string) report.Fact {
	low, high := math.Inf(1), math.Inf(-1)
	for _, l := range analysis.Layers {
		if alpha := float64(l.Metrics["alpha"]); !math.IsNaN(alpha) {
			low, high = min(low, alpha), max(high, alpha)
		}
	}
	fact := report.Fact{Label: fmt.Sprintf("%s, %d layers, %d matrices", name, len(analysis.Layers), len(analysis.Matrices)), Value: "no alpha"}
	if low <= high {
		fact.Value = fmt.Sprintf("alpha %.2f to %.2f", low, high)
	}
	return fact
}

// modelNames are the last parts of the models' directories, told apart where they are alike.
func modelNames(list []*alphalora.Analysis) []string {
	names, seen := make([]string, len(list)), map[string]int{}
	for i, analysis := range list {
		name := filepath.Base(filepath.Clean(analysis.Model))
		if seen[name]++; seen[name] > 1 {
			name = fmt.Sprintf("%s (%d)", name, seen[name])
		}
		names[i] = name
	}
	return names
}

func densitySection(analysis *alphalora.Analysis, name string) report.Section {
	explorer := &report.Explorer{Title: "Density of the eigenvalues of WᵀW, " + name, Choose: "Matrix",
		XLabel: "eigenvalue", YLabel: "density", MarkLabel: "xmin"}
	for _, m := range analysis.Matrices {
		item := report.Item{Name: m.Name, Note: describeFit(m)}
		item.X, item.Y = density(m.Spectrum.Lambda)
		item.FitX, item.FitY = tailLine(m, item.Y)
		if m.XMin.Known() {
			item.Mark = float64(m.XMin)
		}
		explorer.Items = append(explorer.Items, item)
	}
	return report.Section{Heading: "Spectra of " + name, Explorer: explorer,
		Text: "On logarithmic axes a power law is a straight line: the dashed one is the fit to the tail, which begins at xmin."}
}

func describeFit(m alphalora.Measurement) string {
	note := fmt.Sprintf("%d×%d", m.Rows, m.Cols)
	if m.Tail > 0 {
		note += fmt.Sprintf(", alpha %.3f from xmin %.4g over %d eigenvalues, Kolmogorov-Smirnov distance %.3f",
			float64(m.Metrics["alpha"]), float64(m.XMin), m.Tail, float64(m.KSDistance))
	}
	if m.Warning != "" {
		note += "; " + m.Warning
	}
	return note
}

// matrixTable has a row for each matrix of each model.
func matrixTable(list []*alphalora.Analysis) *report.Table {
	t := &report.Table{Caption: "Matrices", Sortable: true, Columns: []string{"matrix", "layer", "site", "shape"}}
	if len(list) > 1 {
		t.Columns = append(t.Columns, "model")
	}
	for _, metric := range alphalora.Metrics() {
		t.Columns = append(t.Columns, metric.Name)
	}
	t.Columns = append(t.Columns, "warning")
	for i, analysis := range list {
		for _, m := range analysis.Matrices {
			row := []string{m.Name, strconv.Itoa(m.Layer), m.Site, fmt.Sprintf("%d×%d", m.Rows, m.Cols)}
			if len(list) > 1 {
				row = append(row, modelNames(list)[i])
			}
			for _, metric := range alphalora.Metrics() {
				text := "–"
				if v := m.Metrics[metric.Name]; v.Known() {
					text = strconv.FormatFloat(float64(v), 'g', 4, 64)
				}
				row = append(row, text)
			}
			t.Rows = append(t.Rows, append(row, m.Warning))
		}
	}
	return t
}

// warningTable has a row for each matrix with a warning.
func warningTable(list []*alphalora.Analysis) *report.Table {
	t := &report.Table{Columns: []string{"matrix", "warning"}}
	for i, analysis := range list {
		for _, m := range analysis.Matrices {
			if m.Warning == "" {
				continue
			}
			name := m.Name
			if len(list) > 1 {
				name = modelNames(list)[i] + ", " + name
			}
			t.Rows = append(t.Rows, []string{name, m.Warning})
		}
	}
	return t
}

// slug is text as part of a file's name.
func slug(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, text)
}
