package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"alphalora/alphalora"
	"alphalora/internal/fault"
	"alphalora/internal/report"
)

// namedChart is a chart and the name of its files.
type namedChart struct {
	name  string
	chart report.Chart
}

// writeSpectralPage writes the page of analyses to path, and its charts to the directory
// charts; what is empty is not written.
func writeSpectralPage(list []*alphalora.Analysis, path, charts string) error {
	alpha := alphaChart(list)
	all := []namedChart{{"alpha", alpha}}
	page := report.Page{Title: "Spectra of " + strings.Join(modelNames(list), ", "),
		Subtitle: fmt.Sprintf("%s, estimator %s", list[0].Solver, list[0].Estimator),
		Sections: []report.Section{{Heading: "How well each layer is trained", Chart: &alpha,
			Text: "The exponent of the tail of each layer's spectra, a mean over its seven projections. Larger is less well trained."}}}
	for i, analysis := range list {
		name := modelNames(list)[i]
		page.Facts = append(page.Facts, report.Fact{Label: "matrices of " + name, Value: strconv.Itoa(len(analysis.Matrices))})
		if chart, text, ok := strategiesChart(analysis, name); ok {
			all = append(all, namedChart{"experts-" + slug(name), chart})
			page.Sections = append(page.Sections, report.Section{Heading: "Experts of " + name, Text: text, Chart: &chart})
		}
		page.Sections = append(page.Sections, densitySection(analysis, name))
	}
	page.Sections = append(page.Sections, report.Section{Heading: "All matrices", Table: matrixTable(list)})
	if charts != "" {
		if err := exportCharts(list, all, charts); err != nil {
			return err
		}
	}
	if path == "" {
		return nil
	}
	return report.Write(path, page)
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

// alphaChart is the paper's Figure 2: alpha of each layer, a line for each model.
func alphaChart(list []*alphalora.Analysis) report.Chart {
	chart := report.LineChart{Title: "Alpha of each layer", XLabel: "layer", YLabel: "alpha"}
	for i, analysis := range list {
		series := report.Series{Name: modelNames(list)[i], Style: report.Markers}
		for _, l := range analysis.Layers {
			if alpha := l.Metrics["alpha"]; alpha.Known() {
				series.X, series.Y = append(series.X, float64(l.Layer)), append(series.Y, float64(alpha))
			}
		}
		if len(series.Y) > 0 {
			chart.Series = append(chart.Series, series)
		}
	}
	if len(chart.Series) == 0 { // no layer of any model has an alpha: the table says why
		chart.Series = []report.Series{{Name: "none", X: []float64{0}, Y: []float64{0}, Style: report.Points}}
	}
	return report.Lines(chart)
}

// comparedPerLayer is the mean number of experts in a layer of the compared allocations: the
// paper's 160 for 32 layers.
const comparedPerLayer = 5

// strategiesChart is the left half of the paper's Figure 3: experts of each layer by
// several strategies, of the same total. Where alpha cannot be allocated by there is none.
func strategiesChart(analysis *alphalora.Analysis, name string) (report.Chart, string, bool) {
	values, err := analysis.LayerValues("alpha")
	if err != nil {
		return report.Chart{}, "", false
	}
	chart := report.GroupedBarChart{Title: "Experts of each layer of " + name, XLabel: "layer", YLabel: "experts"}
	for layer := range values {
		chart.Labels = append(chart.Labels, strconv.Itoa(layer))
	}
	total := comparedPerLayer * len(values)
	for _, strategy := range []string{"alphalora", "mola-2468", "mola-8642", "uniform"} {
		request := alphalora.Request{Strategy: strategy, Layers: len(values), Values: values, Total: total, Beta: 2.5}
		allocation, err := alphalora.Allocate(request)
		if err != nil {
			continue // a pattern of more groups than layers
		}
		group := report.Group{Name: strategy}
		for _, experts := range allocation.Experts {
			group.Values = append(group.Values, float64(experts))
		}
		chart.Groups = append(chart.Groups, group)
	}
	text := fmt.Sprintf("%d experts shared out by each strategy; alphalora by alpha to the power of 2.5.", total)
	return report.GroupedBars(chart), text, len(chart.Labels)*len(chart.Groups) <= 1024
}

// densityBins is the number of bins of log10 λ in a density.
const densityBins = 60

// density is the histogram of a spectrum on a logarithmic axis: the density at the middle
// of each bin that is not empty.
func density(lambda []float64) (x, y []float64) {
	for len(lambda) > 0 && lambda[0] <= 0 {
		lambda = lambda[1:]
	}
	if len(lambda) == 0 {
		return nil, nil
	}
	low, high := math.Log10(lambda[0]), math.Log10(lambda[len(lambda)-1])
	width := max((high-low)/densityBins, 1e-3)
	var counts [densityBins]int
	for _, v := range lambda {
		counts[max(0, min(densityBins-1, int((math.Log10(v)-low)/width)))]++
	}
	for bin, count := range counts {
		if count > 0 {
			from, to := math.Pow(10, low+float64(bin)*width), math.Pow(10, low+float64(bin+1)*width)
			x = append(x, math.Sqrt(from*to))
			y = append(y, float64(count)/float64(len(lambda))/(to-from))
		}
	}
	return x, y
}

// tailLine is the fitted density from xmin to the largest eigenvalue:
// tail/n · (alpha-1)/xmin · (x/xmin)^-alpha.
func tailLine(m alphalora.Measurement) (x, y []float64) {
	lambda, alpha, xmin := m.Spectrum.Lambda, float64(m.Metrics["alpha"]), float64(m.XMin)
	if m.Tail == 0 || len(lambda) == 0 || lambda[len(lambda)-1] <= xmin {
		return nil, nil
	}
	share := 0 // of the spectrum, which for farms is not the one that was fitted
	for _, v := range lambda {
		if v >= xmin {
			share++
		}
	}
	const points = 24
	for i := range points {
		at := xmin * math.Pow(lambda[len(lambda)-1]/xmin, float64(i)/(points-1))
		x = append(x, at)
		y = append(y, float64(share)/float64(len(lambda))*(alpha-1)/xmin*math.Pow(at/xmin, -alpha))
	}
	return x, y
}

func densitySection(analysis *alphalora.Analysis, name string) report.Section {
	explorer := &report.Explorer{Title: "Density of the eigenvalues of WᵀW, " + name, Choose: "Matrix",
		XLabel: "eigenvalue", YLabel: "density", MarkLabel: "xmin"}
	for _, m := range analysis.Matrices {
		item := report.Item{Name: m.Name, Note: describeFit(m)}
		item.X, item.Y = density(m.Spectrum.Lambda)
		item.FitX, item.FitY = tailLine(m)
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

// exportCharts writes the page's charts and a density for each matrix to dir.
func exportCharts(list []*alphalora.Analysis, all []namedChart, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fault.Input("--charts "+dir, "name a directory that you may write to", "cannot be made: %v", fault.Reason(err))
	}
	for i, analysis := range list {
		prefix := ""
		if len(list) > 1 {
			prefix = slug(modelNames(list)[i]) + "-"
		}
		for _, m := range analysis.Matrices {
			if chart, ok := densityChart(m); ok {
				all = append(all, namedChart{prefix + "density-" + slug(m.Name), chart})
			}
		}
	}
	for _, c := range all {
		if err := c.chart.Export(filepath.Join(dir, c.name)); err != nil {
			return err
		}
	}
	return nil
}

// densityChart is what the page's script draws, for a file.
func densityChart(m alphalora.Measurement) (report.Chart, bool) {
	x, y := density(m.Spectrum.Lambda)
	if len(x) == 0 {
		return report.Chart{}, false
	}
	chart := report.LineChart{Title: m.Name, XLabel: "eigenvalue", YLabel: "density", LogX: true, LogY: true,
		Series: []report.Series{{Name: "density", X: x, Y: y, Style: report.Points}}}
	if fx, fy := tailLine(m); len(fx) > 0 {
		low := min(fy[len(fy)-1], y[0])
		for _, v := range y {
			low = min(low, v)
		}
		chart.Series = append(chart.Series,
			report.Series{Name: fmt.Sprintf("fit, alpha %.3f", float64(m.Metrics["alpha"])), X: fx, Y: fy, Style: report.DashedFit},
			report.Series{Name: fmt.Sprintf("xmin %.4g", float64(m.XMin)), X: []float64{fx[0], fx[0]}, Y: []float64{low, fy[0]}, Style: report.Line})
	}
	return report.Lines(chart), true
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
