package main

import (
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"time"

	"alphalora/internal/report"
	"alphalora/moelora"
	"alphalora/train"
)

// phase of a run, as its page tells it.
type phase string

const (
	running  phase = "running"
	finished phase = "finished"
	stopped  phase = "stopped"
)

// pageState is what a run's page says of the moment when it was written.
type pageState struct {
	phase phase
	why   string        // of a stop
	left  time.Duration // 0: unknown
	at    time.Time
	times train.Times
}

// stepNote is what the progress bar says of a step.
func stepNote(m train.Metrics) string {
	return fmt.Sprintf("loss %.4f, %.0f tokens/s", m.Loss, float64(m.Tokens)/m.Seconds)
}

// writePage writes the run's page, which browsers read anew while the run goes.
func (r *prepared) writePage(c *curves, s pageState) error {
	page := report.Page{Title: "Training of " + filepath.Base(r.Model),
		Subtitle: fmt.Sprintf("%s, written %s", r.Output, s.at.Format("2006-01-02 15:04:05"))}
	page.Facts = append(page.Facts, report.Fact{Label: "The run is", Value: string(s.phase)},
		report.Fact{Label: "Step", Value: fmt.Sprintf("%d of %d", c.steps, r.steps)})
	if s.phase == running {
		page.Refresh = int(pageEvery / time.Second)
		if s.left > 0 {
			page.Facts = append(page.Facts, report.Fact{Label: "Time left", Value: longTime(s.left)})
		}
	}
	for _, f := range []struct{ name, label, format string }{
		{"loss", "Loss", "%.4f"}, {"validation_loss", "Validation loss", "%.4f"}, {"tokens_per_second", "Tokens/s", "%.0f"},
	} {
		if t := c.traces[f.name]; t != nil {
			page.Facts = append(page.Facts, report.Fact{Label: f.label, Value: fmt.Sprintf(f.format, t.spans[len(t.spans)-1].mean())})
		}
	}
	if s.times.Steps > 0 {
		page.Facts = append(page.Facts, report.Fact{Label: "Time", Value: shares(s.times)})
	}
	if r.adapter != nil {
		n := moelora.Count(r.model.Description, r.adapter.Shape).Trainable
		page.Facts = append(page.Facts, report.Fact{Label: "Trainable parameters", Value: strconv.Itoa(n)})
	}
	if s.why != "" {
		page.Sections = append(page.Sections, report.Section{Heading: "Why it stopped", Text: s.why})
	}
	page.Sections = append(append(page.Sections, courseSections(c)...), r.shapeSections()...)
	return report.Write(filepath.Join(r.Output, "report.html"), page)
}

// courseSections draw what changed from step to step.
func courseSections(c *curves) []report.Section {
	var list []report.Section
	add := func(heading, text string, charts ...*report.Chart) {
		for _, chart := range charts {
			if chart != nil {
				list = append(list, report.Section{Heading: heading, Text: text, Chart: chart})
				heading, text = "", ""
			}
		}
	}
	add("Training", "Mean cross-entropy of the tokens that are learnt."+thinned(c),
		c.chart("Loss", "cross-entropy", plainCurve{"loss", "training", true}, plainCurve{"validation_loss", "validation", false}),
		c.chart("Validation accuracy", "share of tokens", plainCurve{"validation_accuracy", "accuracy", false}),
		c.chart("Learning rate", "learning rate", plainCurve{"learning_rate", "learning rate", false}),
		c.chart("Gradient norm before clipping", "norm", plainCurve{"grad_norm", "gradient norm", true}),
		c.chart("Speed", "tokens/s", plainCurve{"tokens_per_second", "tokens/s", true}))
	if heat := c.layers("balance_layers", "Balance loss of each layer"); heat != nil {
		add("How evenly experts are used", "The balance loss of each layer over the run, without its coefficient: 1 is an even load, and what a layer with one expert always has.",
			heat)
	}
	return list
}

// thinned tells what a point is where there are more steps than points.
func thinned(c *curves) string {
	if t := c.traces["loss"]; t != nil && t.width > 1 {
		return fmt.Sprintf(" Pale curves run between the least and the largest value of every %d steps; smoothed ones are means.", t.width)
	}
	return ""
}

// plainCurve is one trace of a chart.
type plainCurve struct {
	trace, name string
	smooth      bool
}

// smoothSpans is how many spans (steps, in a short run) a smoothed curve averages.
const smoothSpans = 25

// chart draws traces over the steps; nil where there are none.
func (c *curves) chart(title, unit string, lines ...plainCurve) *report.Chart {
	chart := report.LineChart{Title: title, XLabel: "step", YLabel: unit}
	for _, l := range lines {
		if t := c.traces[l.trace]; t != nil {
			chart.Series = append(chart.Series, t.series(l.name, l.smooth))
		}
	}
	if len(chart.Series) == 0 {
		return nil
	}
	drawn := report.Lines(chart)
	return &drawn
}

// series runs through the least and the largest value of each span, smoothed ones through
// the means of the spans around.
func (t *trace) series(name string, smooth bool) report.Series {
	s := report.Series{Name: name}
	for i, p := range t.spans {
		ends := []float64{p.low, p.high}[:min(p.count, 2)]
		for _, v := range ends {
			s.X, s.Y = append(s.X, float64(p.first)), append(s.Y, v)
			if smooth {
				s.Smoothed = append(s.Smoothed, t.around(i))
			}
		}
	}
	if len(t.spans) == 1 || !smooth && len(t.spans) <= 24 {
		s.Style = report.Markers
	}
	return s
}

// around is the mean of the values of at most smoothSpans spans, as many before span i as
// behind it.
func (t *trace) around(i int) float64 {
	reach := min(smoothSpans/2, i, len(t.spans)-1-i)
	var sum float64
	count := 0
	for _, s := range t.spans[i-reach : i+reach+1] {
		sum, count = sum+s.sum, count+s.count
	}
	return sum / float64(count)
}

// heatCells is about how many cells a heat map of a run has: enough to see a trend, few
// enough for a page that is written again and again.
const heatCells = 800

// layers draws a metric of each layer as a heat map of layers and stretches of the run; nil
// where there is none.
func (c *curves) layers(key, title string) *report.Chart {
	var rows []*trace
	for c.traces[layerTag(key, len(rows))] != nil {
		rows = append(rows, c.traces[layerTag(key, len(rows))])
	}
	if len(rows) == 0 {
		return nil
	}
	heat := report.HeatMap{Title: title, XLabel: "from step", YLabel: "layer", Span: 1, Low: math.Inf(1), High: math.Inf(-1)}
	columns := min(max(4, heatCells/len(rows)), 24, len(rows[0].spans))
	for layer, t := range rows {
		heat.Rows = append(heat.Rows, strconv.Itoa(layer))
		values := make([]float64, columns)
		for i := range values {
			from, to := i*len(t.spans)/columns, (i+1)*len(t.spans)/columns
			part := trace{width: math.MaxInt}
			for _, s := range t.spans[from:max(to, from+1)] {
				part.put(s)
			}
			values[i] = part.spans[0].mean()
			heat.Low, heat.High = min(heat.Low, values[i]), max(heat.High, values[i])
			if layer == 0 {
				heat.Columns = append(heat.Columns, strconv.Itoa(part.spans[0].first))
			}
		}
		heat.Values = append(heat.Values, values)
	}
	if heat.High-heat.Low < 1e-6*math.Abs(heat.High)+1e-12 {
		heat.High = heat.Low + max(1e-3, math.Abs(heat.Low))
	}
	drawn := report.Heat(heat)
	return &drawn
}
