package report

import (
	"fmt"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
)

// Chart is a drawing made by [Lines], [Bars], [GroupedBars] or [Heat]. What is wrong with
// its values is reported by [Write].
type Chart struct {
	title, describe string
	legend          []key
	height          vg.Length // 0: the usual one
	err             error
	draw            func(width vg.Length) *plot.Plot
}

// tall is the chart's height where others have the usual one.
func (c *Chart) tall(usual vg.Length) vg.Length {
	if c.height > 0 {
		return c.height
	}
	return usual
}

// key is one entry of a legend: CSS classes of the swatch and the name beside it.
type key struct{ Class, Name string }

// Style is how a series is drawn.
type Style int

const (
	Line      Style = iota // a line alone
	Markers                // a line with a marker at each point
	Points                 // markers alone
	DashedFit              // a dashed line, for a model laid over data
)

// Series is one curve, its points in drawing order.
type Series struct {
	Name  string
	X     []float64 // nil: 0, 1, 2, ...
	Y     []float64
	Style Style

	// Smooth, when above 1, is the width in points of a centred moving average that is
	// drawn over the pale raw curve; an even width counts as the next odd one. Near the
	// ends it shrinks to the points that lie on both sides.
	Smooth int

	// Smoothed, when not nil, is drawn over the pale raw curve in place of such an average;
	// it is as long as Y.
	Smoothed []float64
}

// LineChart shows curves over one pair of axes. On a logarithmic axis every value must
// be above 0.
type LineChart struct {
	Title, XLabel, YLabel string
	LogX, LogY            bool
	Series                []Series
}

// BarChart shows one value for each label.
type BarChart struct {
	Title, XLabel, YLabel string
	Labels                []string
	Values                []float64
}

// GroupedBarChart shows one bar of each group at each label, side by side.
type GroupedBarChart struct {
	Title, XLabel, YLabel string
	Labels                []string
	Groups                []Group
	Percent               bool // values are fractions; the axis reaches from 0 to 100 %
}

// Group is one bar at each label, with an optional interval (low, high) at each.
type Group struct {
	Name      string
	Values    []float64
	Intervals [][2]float64 // nil, or as long as Values
}

const (
	maxBars  = 1024  // more bars than pixels show nothing
	maxValue = 1e100 // keeps every sum and difference of the drawing finite
	minLog   = 1e-100
)

// Lines draws curves.
func Lines(c LineChart) Chart {
	series := make([]Series, len(c.Series))
	for i, s := range c.Series {
		series[i] = s.withX()
	}
	c.Series = series
	chart := Chart{title: c.Title, err: c.check()}
	if chart.err != nil {
		return chart
	}
	for i, s := range c.Series {
		chart.legend = append(chart.legend, s.keys(i)...)
	}
	x, y := c.extent()
	chart.describe = fmt.Sprintf("Line chart. %s from %s to %s; %s from %s to %s. Series: %s.",
		axisName(c.XLabel, "x"), short(x.lo), short(x.hi), axisName(c.YLabel, "y"), short(y.lo), short(y.hi), names(chart.legend))
	chart.draw = c.plot
	return chart
}

// Bars draws one bar for each label.
func Bars(c BarChart) Chart {
	name := axisName(c.YLabel, "value")
	chart := GroupedBars(GroupedBarChart{
		Title: c.Title, XLabel: c.XLabel, YLabel: c.YLabel, Labels: c.Labels,
		Groups: []Group{{Name: name, Values: c.Values}},
	})
	chart.legend = nil // the axis names the only group
	return chart
}

// GroupedBars draws the bars of several groups beside each other.
func GroupedBars(c GroupedBarChart) Chart {
	chart := Chart{title: c.Title, err: c.check()}
	if chart.err != nil {
		return chart
	}
	for i, g := range c.Groups {
		chart.legend = append(chart.legend, key{"bar " + seriesClass(i), g.Name})
	}
	y := c.extent()
	chart.describe = fmt.Sprintf("Bar chart of %s for %d bars along %s, from %s to %s. Series: %s.",
		axisName(c.YLabel, "value"), len(c.Labels), axisName(c.XLabel, "x"), short(y.lo), short(y.hi), names(chart.legend))
	chart.draw = c.plot
	return chart
}

func (c LineChart) check() error {
	if err := checkTitle(c.Title, len(c.Series)); err != nil {
		return err
	}
	for _, s := range c.Series {
		what := fmt.Sprintf("chart %q: series %q", c.Title, s.Name)
		switch {
		case s.Style < Line || s.Style > DashedFit:
			return fmt.Errorf("%s: has no such style %d", what, s.Style)
		case len(s.Y) == 0:
			return fmt.Errorf("%s: has no points", what)
		case len(s.X) != len(s.Y):
			return fmt.Errorf("%s: has %d x values for %d y values", what, len(s.X), len(s.Y))
		case s.Smoothed != nil && len(s.Smoothed) != len(s.Y):
			return fmt.Errorf("%s: has %d smoothed values for %d y values", what, len(s.Smoothed), len(s.Y))
		}
		if err := checkValues(what, "smoothed y", s.Smoothed, c.LogY); err != nil {
			return err
		}
		if err := checkValues(what, "x", s.X, c.LogX); err != nil {
			return err
		}
		if err := checkValues(what, "y", s.Y, c.LogY); err != nil {
			return err
		}
	}
	return nil
}

func (c GroupedBarChart) check() error {
	if err := checkTitle(c.Title, len(c.Groups)); err != nil {
		return err
	}
	if n := len(c.Labels) * len(c.Groups); n > maxBars {
		return fmt.Errorf("chart %q: has %d bars, of which at most %d can be told apart", c.Title, n, maxBars)
	}
	for _, g := range c.Groups {
		what := fmt.Sprintf("chart %q: series %q", c.Title, g.Name)
		switch {
		case len(g.Values) == 0:
			return fmt.Errorf("%s: has no values", what)
		case len(g.Values) != len(c.Labels):
			return fmt.Errorf("%s: has %d values for %d labels", what, len(g.Values), len(c.Labels))
		case g.Intervals != nil && len(g.Intervals) != len(g.Values):
			return fmt.Errorf("%s: has %d intervals for %d values", what, len(g.Intervals), len(g.Values))
		}
		if err := checkValues(what, "value", g.Values, false); err != nil {
			return err
		}
		for i, interval := range g.Intervals {
			if err := checkValues(what, fmt.Sprintf("interval %d, end", i+1), interval[:], false); err != nil {
				return err
			}
			if interval[0] > interval[1] {
				return fmt.Errorf("%s: interval %d ends at %v, before its start %v", what, i+1, interval[1], interval[0])
			}
		}
	}
	return nil
}

func checkTitle(title string, series int) error {
	if strings.TrimSpace(title) == "" {
		return fmt.Errorf("chart: has no title")
	}
	if series == 0 {
		return fmt.Errorf("chart %q: has no series", title)
	}
	return nil
}

func checkValues(what, axis string, values []float64, log bool) error {
	for i, v := range values {
		switch {
		case math.IsNaN(v) || math.IsInf(v, 0):
			return fmt.Errorf("%s: %s %d is %v, not a finite number", what, axis, i+1, v)
		case math.Abs(v) > maxValue:
			return fmt.Errorf("%s: %s %d is %v, beyond ±%v", what, axis, i+1, v, maxValue)
		case log && v < minLog:
			return fmt.Errorf("%s: %s %d is %v, but a logarithmic axis starts at %v", what, axis, i+1, v, minLog)
		}
	}
	return nil
}

// withX fills in the x values 0, 1, 2, ... where the caller gave none.
func (s Series) withX() Series {
	if s.X != nil {
		return s
	}
	s.X = make([]float64, len(s.Y))
	for i := range s.X {
		s.X[i] = float64(i)
	}
	return s
}

// keys returns the entries of series i in the legend: two when it is smoothed.
func (s Series) keys(i int) []key {
	class := seriesClass(i)
	switch {
	case s.Smoothed != nil:
		return []key{{"line faint " + class, s.Name}, {"line " + class, s.Name + ", smoothed"}}
	case s.Smooth > 1:
		return []key{
			{"line faint " + class, s.Name},
			{"line " + class, fmt.Sprintf("%s, mean of %d points", s.Name, s.Smooth|1)},
		}
	}
	return []key{{[...]string{"line ", "line dotted ", "point ", "dash "}[s.Style] + class, s.Name}}
}

func axisName(label, otherwise string) string {
	if label == "" {
		return otherwise
	}
	return label
}

func names(legend []key) string {
	all := make([]string, len(legend))
	for i, k := range legend {
		all[i] = k.Name
	}
	return strings.Join(all, "; ")
}

func short(v float64) string { return fmt.Sprintf("%.4g", v) }
