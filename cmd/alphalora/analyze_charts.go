package main

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"

	"alphalora/alphalora"
	"alphalora/internal/report"
)

// alphaChart is the paper's Figure 2: alpha of each layer, a line for each model. Where no
// layer of any has one there is none.
func alphaChart(list []*alphalora.Analysis) (report.Chart, bool) {
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
	return report.Lines(chart), len(chart.Series) > 0
}

// comparedPerLayer is the mean number of experts in a layer of the compared allocations: the
// paper's 160 for 32 layers.
const comparedPerLayer = 5

// maxBarLayers is up to how many layers bars stand side by side; beyond, lines are clearer.
const maxBarLayers = 12

// allocated is what one strategy gives each layer.
type allocated struct {
	name    string
	experts []float64
}

// strategiesSection is the left half of the paper's Figure 3: experts of each layer by
// several strategies, of the same total. What a strategy cannot do is said in the text.
func strategiesSection(analysis *alphalora.Analysis, name string, page *spectralPage) report.Section {
	section := report.Section{Heading: "Experts of " + name}
	values, err := analysis.LayerValues("alpha")
	if err != nil {
		section.Text = fmt.Sprintf("Nothing is shared out by alpha: %v.", err)
		return section
	}
	total := page.experts
	if total == 0 {
		total = comparedPerLayer * len(values)
	}
	section.Text = fmt.Sprintf("%d experts shared out by each strategy; alphalora by alpha to the power of %g.", total, comparedBeta)
	var all []allocated
	for _, strategy := range page.strategies {
		request := alphalora.Request{Strategy: strategy, Layers: len(values), Values: values, Total: total, Beta: comparedBeta}
		allocation, err := alphalora.Allocate(request)
		if err != nil {
			section.Text += fmt.Sprintf(" Not %s: %v.", strategy, err)
			continue
		}
		one := allocated{name: strategy}
		for _, experts := range allocation.Experts {
			one.experts = append(one.experts, float64(experts))
		}
		all = append(all, one)
	}
	if len(all) > 0 {
		chart := strategiesChart("Experts of each layer of "+name, all)
		section.Chart = &chart
	}
	return section
}

// comparedBeta is the paper's.
const comparedBeta = 2.5

func strategiesChart(title string, all []allocated) report.Chart {
	if len(all[0].experts) > maxBarLayers {
		chart := report.LineChart{Title: title, XLabel: "layer", YLabel: "experts"}
		for _, one := range slices.Backward(all) { // the first on top: lines cover each other
			chart.Series = append(chart.Series, report.Series{Name: one.name, Y: one.experts, Style: report.Markers})
		}
		return report.Lines(chart)
	}
	chart := report.GroupedBarChart{Title: title, XLabel: "layer", YLabel: "experts"}
	for layer := range all[0].experts {
		chart.Labels = append(chart.Labels, strconv.Itoa(layer))
	}
	for _, one := range all {
		chart.Groups = append(chart.Groups, report.Group{Name: one.name, Values: one.experts})
	}
	return report.GroupedBars(chart)
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
// tail/n · (alpha-1)/xmin · (x/xmin)^-alpha. It ends where it is a tenth of the lowest density.
func tailLine(m alphalora.Measurement, densities []float64) (x, y []float64) {
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
		if y[i] < slices.Min(densities)/10 {
			return x[:i], y[:i]
		}
	}
	return x, y
}

// exportCharts writes the page's charts and a density for each matrix to dir.
func (a *app) exportCharts(list []*alphalora.Analysis, all []namedChart, dir string) error {
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
	if len(all) == 0 {
		a.say("charts: none, as no matrix has a density")
		return nil
	}
	bar := a.progress(len(all), "charts")
	for _, c := range all {
		if err := c.chart.Export(filepath.Join(dir, c.name)); err != nil {
			return err
		}
		bar.Add(1, c.name)
	}
	bar.Done()
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
	if fx, fy := tailLine(m, y); len(fx) > 0 {
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
