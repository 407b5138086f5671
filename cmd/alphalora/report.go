package main

import (
	"fmt"
	"io"
	"strconv"

	"alphalora/alphalora"
	"alphalora/internal/report"
	"alphalora/moelora"
)

// describe prints what a prepared run is about to do.
func (r *prepared) describe(w io.Writer) error {
	var err error
	if r.adapter != nil {
		err = printLayers(w, moelora.Count(r.model.Description, r.adapter.Shape))
	} else {
		_, err = fmt.Fprintf(w, "full-parameter training: %d parameters\n", r.model.Count())
	}
	if err != nil {
		return err
	}
	return r.describeData(w)
}

// shapeSections draw what the run is made of: alpha of the layers, and their experts.
func (r *prepared) shapeSections() []report.Section {
	var list []report.Section
	if r.analysis != nil {
		list = append(list, alphaSection(r.analysis))
	}
	if r.allocation != nil {
		list = append(list, expertSection(r.allocation))
	}
	return list
}

func alphaSection(analysis *alphalora.Analysis) report.Section {
	series := report.Series{Name: "alpha", Style: report.Markers}
	for _, l := range analysis.Layers {
		if alpha := l.Metrics["alpha"]; alpha.Known() {
			series.X, series.Y = append(series.X, float64(l.Layer)), append(series.Y, float64(alpha))
		}
	}
	chart := report.Lines(report.LineChart{Title: "Alpha of each layer", XLabel: "layer", YLabel: "alpha", Series: []report.Series{series}})
	return report.Section{Heading: "How well each layer is trained",
		Text:  "The exponent of the tail of each layer's spectra, a mean over its seven projections. Larger is less well trained.",
		Chart: &chart}
}

func expertSection(allocation *alphalora.Allocation) report.Section {
	bars := report.BarChart{Title: "Experts of each layer", XLabel: "layer", YLabel: "experts"}
	for layer, experts := range allocation.Experts {
		bars.Labels, bars.Values = append(bars.Labels, strconv.Itoa(layer)), append(bars.Values, float64(experts))
	}
	chart := report.Bars(bars)
	return report.Section{Heading: "Experts", Text: fmt.Sprintf("Strategy %s, %d experts in all.", allocation.Strategy, allocation.Total), Chart: &chart}
}
