package main

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"alphalora/internal/report"
	"alphalora/model"
	"alphalora/moelora"
)

// page draws the counts.
func (r *routed) page() report.Page {
	dead, experts := 0, 0
	for _, l := range r.Layers {
		dead, experts = dead+l.Dead, experts+l.Experts*l.Projections
	}
	page := report.Page{
		Title:    "Routes of " + filepath.Base(filepath.Clean(r.Model)),
		Subtitle: fmt.Sprintf("%s, over %s", r.Adapter, strings.Join(r.Data, ", ")),
		Facts: []report.Fact{
			{Label: "tokens", Value: strconv.Itoa(r.Tokens)}, {Label: "records", Value: strconv.Itoa(r.Records)},
			{Label: "routed projections", Value: strconv.Itoa(len(r.Projections))},
			{Label: "dead experts", Value: fmt.Sprintf("%d of %d", dead, experts)},
			{Label: "entropy of the load", Value: fmt.Sprintf("%.3f", r.meanOf(func(l moelora.LayerUsage) float64 { return l.LoadEntropy }))},
			{Label: "top-1 share", Value: percent(r.meanOf(func(l moelora.LayerUsage) float64 { return l.Top1Share }))},
		},
		Sections: []report.Section{r.loadSection(), r.entropySection("Entropy of the load",
			"How evenly a projection's experts are used: 1 is even, 0 would be one expert for all tokens.",
			func(u moelora.Usage) float64 { return u.LoadEntropy })},
	}
	page.Sections = append(page.Sections, r.entropySection("Entropy of a token's distribution",
		"How undecided the router is about one token, in the mean: 1 is all experts alike, 0 one expert alone.",
		func(u moelora.Usage) float64 { return u.TokenEntropy }), r.deadSection())
	if s, ok := r.pairSection(); ok {
		page.Sections = append(page.Sections, s)
	}
	if len(r.Checkpoints) > 1 {
		page.Sections = append(page.Sections, r.driftSections()...)
	}
	page.Sections = append(page.Sections, r.table())
	return page
}

// sites are the projections that are routed somewhere, in the order of the forward pass.
func (r *routed) sites() []string {
	var names []string
	for _, site := range model.Sites() {
		if slices.ContainsFunc(r.Projections, func(u moelora.Usage) bool { return u.Site == site.String() }) {
			names = append(names, site.String())
		}
	}
	return names
}

// grid is an empty heat map with a row for each layer and span cells for each site.
func (r *routed) grid(title string, span int) report.HeatMap {
	c := report.HeatMap{Title: title, YLabel: "layer", XLabel: "projection", Columns: r.sites(), Span: span, High: 1}
	for layer := range r.layers {
		c.Rows = append(c.Rows, strconv.Itoa(layer))
		row := make([]float64, len(c.Columns)*span)
		for i := range row {
			row[i] = math.NaN()
		}
		c.Values = append(c.Values, row)
	}
	return c
}

func (r *routed) loadSection() report.Section {
	most := 1
	for _, u := range r.Projections {
		most = max(most, u.Experts)
	}
	s := report.Section{Heading: "Load of the experts",
		Text: "Of all choices that the tokens make, the share that an expert gets, times the number of experts: 1 is an even share, 0 an expert that nobody chooses. The experts of a projection stand side by side; a layer with fewer has fewer cells, one without a choice none."}
	c := r.grid("Load of each expert, 1 is even", most)
	if len(c.Rows)*len(c.Columns)*most > report.MaxCells {
		s.Text += "\n\nThere are too many experts to draw; the JSON has their loads."
		return s
	}
	c.XLabel, c.Diverging, c.Middle, c.High = "projection and expert", true, 1, 2
	for _, u := range r.Projections {
		at := slices.Index(c.Columns, u.Site) * most
		for e, f := range u.Load {
			v := f * float64(u.Experts)
			c.Values[u.Layer][at+e], c.High = v, max(c.High, v)
		}
	}
	chart := report.Heat(c)
	s.Chart = &chart
	return s
}

func (r *routed) entropySection(title, text string, value func(moelora.Usage) float64) report.Section {
	c := r.grid(title, 1)
	for _, u := range r.Projections {
		c.Values[u.Layer][slices.Index(c.Columns, u.Site)] = value(u)
	}
	chart := report.Heat(c)
	return report.Section{Heading: title, Text: text, Chart: &chart}
}

func (r *routed) deadSection() report.Section {
	s := report.Section{Heading: "Dead experts"}
	rule := fmt.Sprintf("An expert counts as dead when no token chooses it, or its load is below %v of an even share.", r.DeadBelow)
	t := &report.Table{Caption: "Dead experts", Sortable: true, Columns: []string{"layer", "projection", "expert", "load", "mean weight"}}
	for _, u := range r.Projections {
		for _, e := range u.Dead {
			t.Rows = append(t.Rows, []string{strconv.Itoa(u.Layer), u.Site, strconv.Itoa(e), fmt.Sprintf("%.5f", u.Load[e]), fmt.Sprintf("%.5f", u.Weight[e])})
		}
	}
	s.Text = rule
	if len(t.Rows) == 0 {
		s.Text += " There is none."
		return s
	}
	s.Table = t
	return s
}

// maxPairCells bounds the pairs that the page holds.
const maxPairCells = 1 << 18

func (r *routed) pairSection() (report.Section, bool) {
	e := &report.MatrixExplorer{Title: "Pairs of experts", Choose: "Projection", RowName: "expert", Unit: "percent of the tokens"}
	cells := 0
	for _, u := range r.Projections {
		if u.Pairs == nil {
			continue
		}
		cells += u.Experts * u.Experts
		e.Items = append(e.Items, report.Matrix{Name: fmt.Sprintf("layer %d, %s", u.Layer, u.Site), Values: u.Pairs,
			Note: fmt.Sprintf("%d experts, of which a token chooses %d; the most frequent first choice is expert %d.", u.Experts, u.TopK, u.Top1Expert)})
	}
	s := report.Section{Heading: "Which experts work together", Matrices: e,
		Text: "The share of the tokens that choose both experts; on the diagonal, of those that choose the one."}
	return s, len(e.Items) > 0 && cells <= maxPairCells
}

// driftSections show how far the routing moved from checkpoint to checkpoint.
func (r *routed) driftSections() []report.Section {
	series := []report.Series{{Name: "load, from the first"}, {Name: "load, from the one before"},
		{Name: "choices, from the first"}, {Name: "choices, from the one before"}}
	x, label := r.driftAxis()
	for i := range r.Checkpoints {
		d := r.meanDrift(i)
		for j, v := range []float64{d.LoadFirst, d.LoadPrevious, d.ChosenFirst, d.ChosenPrevious} {
			if i > 0 || j%2 == 0 { // nothing is before the first
				series[j].X, series[j].Y, series[j].Style = append(series[j].X, x[i]), append(series[j].Y, v), report.Markers
			}
		}
	}
	curves := report.Lines(report.LineChart{Title: "Drift of the routing", XLabel: label, YLabel: "share", Series: series})
	return []report.Section{
		{Heading: "Drift over training", Chart: &curves,
			Text: "Means over the routed layers, over the same tokens each time. Load: the total variation distance of the experts' loads, the share of the load that changed hands. Choices: the share of tokens whose set of chosen experts is another one."},
		r.driftMap("Load moved since the first", func(d moelora.Drift) float64 { return d.LoadFirst }),
		r.driftMap("Choices changed since the one before", func(d moelora.Drift) float64 { return d.ChosenPrevious }),
	}
}

// driftAxis is the steps of the checkpoints, or their numbers where one has no step.
func (r *routed) driftAxis() (x []float64, label string) {
	for i, c := range r.Checkpoints {
		x = append(x, float64(c.Step))
		if c.Step == 0 {
			x[i] = math.Inf(1)
		}
	}
	last := len(x) - 1
	if slices.IsSorted(x) && !slices.Contains(x, math.Inf(1)) {
		return x, "step"
	}
	for i := range x {
		x[i] = float64(i + 1)
	}
	return x, fmt.Sprintf("checkpoint, %d is the adapter", last+1)
}

// driftMap has a row for each layer and a column for each checkpoint but the first.
func (r *routed) driftMap(title string, value func(moelora.Drift) float64) report.Section {
	c := r.grid(title, 1)
	c.XLabel, c.Columns, c.High = "checkpoint", nil, 1e-3
	for i := range r.Checkpoints[1:] {
		c.Columns = append(c.Columns, r.checkpointName(i+1))
	}
	for layer := range c.Values {
		c.Values[layer] = make([]float64, len(c.Columns))
		for i := range c.Columns {
			c.Values[layer][i] = math.NaN()
		}
	}
	for i, checkpoint := range r.Checkpoints[1:] {
		for _, d := range checkpoint.LayerDrift {
			c.Values[d.Layer][i], c.High = value(d), max(c.High, value(d))
		}
	}
	chart := report.Heat(c)
	return report.Section{Heading: title, Chart: &chart}
}

// table has a row for each routed projection.
func (r *routed) table() report.Section {
	t := &report.Table{Caption: "Projections", Sortable: true, Columns: []string{"layer", "projection", "experts", "top-k",
		"load entropy", "token entropy", "top-1 expert", "top-1 share", "first gate", "dead"}}
	for _, u := range r.Projections {
		row := []string{strconv.Itoa(u.Layer), u.Site, strconv.Itoa(u.Experts), strconv.Itoa(u.TopK)}
		for _, v := range []float64{u.LoadEntropy, u.TokenEntropy} {
			row = append(row, fmt.Sprintf("%.3f", v))
		}
		t.Rows = append(t.Rows, append(row, strconv.Itoa(u.Top1Expert), fmt.Sprintf("%.3f", u.Top1Share),
			fmt.Sprintf("%.3f", u.FirstGate), strconv.Itoa(len(u.Dead))))
	}
	return report.Section{Heading: "All projections", Table: t,
		Text: "The top-1 expert is the one that most tokens have as their first choice; the top-1 share is the share of those tokens. The first gate is the mean weight of a token's first choice among those that it chose."}
}
