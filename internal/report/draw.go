package report

import (
	"image/color"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	labelSize = vg.Length(13)
	tickSize  = vg.Length(12)
	valueSize = vg.Length(11)
)

// newPlot returns empty axes in the page's style, with horizontal grid lines.
func newPlot(xLabel, yLabel string) *plot.Plot {
	p := newAxes(xLabel, yLabel)
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal = draw.LineStyle{Color: roleGrid.placeholder(), Width: 1}
	p.Add(grid)
	return p
}

// newAxes returns axes without a frame: a base line on a transparent ground.
func newAxes(xLabel, yLabel string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	p.X.Label.Text, p.Y.Label.Text = elide(xLabel, 60), elide(yLabel, 40)
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font.Variant, axis.Tick.Label.Font.Variant = "Sans", "Sans"
		axis.Label.TextStyle.Font.Size, axis.Tick.Label.Font.Size = labelSize, tickSize
		axis.Label.TextStyle.Color, axis.Tick.Label.Color = roleMuted.placeholder(), roleMuted.placeholder()
		axis.Label.Padding = 6
		axis.LineStyle.Color, axis.Tick.LineStyle.Color = roleMuted.placeholder(), roleMuted.placeholder()
		axis.LineStyle.Width, axis.Tick.LineStyle.Width = 1, 1
		axis.Tick.Length = 5
	}
	p.Y.LineStyle.Width, p.Y.Tick.Length = 0, 0
	p.X.Padding, p.Y.Padding = 0, 4
	return p
}

// extent returns the ranges of all points.
func (c LineChart) extent() (x, y span) {
	x, y = emptySpan(), emptySpan()
	for _, s := range c.Series {
		for i := range s.Y {
			x.add(s.X[i])
			y.add(s.Y[i])
		}
	}
	return x, y
}

func (c LineChart) plot(width vg.Length) *plot.Plot {
	p := newPlot(c.XLabel, c.YLabel)
	x, y := c.extent()
	if x.narrow() {
		x = x.padded(0.1)
	}
	allWhole := [2]bool{true, true}
	for _, s := range c.Series {
		allWhole[0], allWhole[1] = allWhole[0] && whole(s.X), allWhole[1] && whole(s.Y)
	}
	setAxis(&p.X, x, c.LogX, int(width/60), allWhole[0])
	if c.LogY {
		y = y.paddedLog(0.05)
	} else {
		y = y.padded(0.05)
	}
	setAxis(&p.Y, y, c.LogY, 6, allWhole[1])
	for i, s := range c.Series {
		c.addSeries(p, s, seriesRole(i))
	}
	return p
}

func setAxis(axis *plot.Axis, s span, log bool, ticks int, whole bool) {
	axis.Min, axis.Max = s.lo, s.hi
	if log {
		axis.Scale = plot.LogScale{}
		axis.Tick.Marker = plot.ConstantTicks(logTicks(s, ticks))
		return
	}
	axis.Tick.Marker = plot.ConstantTicks(linearTicks(s, ticks, whole))
}

func (c LineChart) addSeries(p *plot.Plot, s Series, r role) {
	ink, smoothed := r, s.Smoothed
	if smoothed == nil && s.Smooth > 1 {
		smoothed = smooth(s.Y, s.Smooth)
	}
	if smoothed != nil {
		ink |= pale
	}
	points := c.points(s.X, s.Y)
	if s.Style != Points {
		line := plotter.Line{XYs: points, LineStyle: draw.LineStyle{Color: ink.placeholder(), Width: 2}}
		switch {
		case s.Style == DashedFit:
			line.Dashes = []vg.Length{7, 4}
		case smoothed != nil:
			line.Width = 1
		}
		p.Add(&line)
	}
	if s.Style == Points || s.Style == Markers || len(points) == 1 {
		glyph := draw.GlyphStyle{Color: ink.placeholder(), Radius: 3.5, Shape: draw.CircleGlyph{}}
		if len(points) > 100 {
			glyph.Radius = 2
		}
		p.Add(&plotter.Scatter{XYs: points, GlyphStyle: glyph})
	}
	if smoothed != nil {
		p.Add(&plotter.Line{XYs: c.points(s.X, smoothed), LineStyle: draw.LineStyle{Color: r.placeholder(), Width: 2}})
	}
}

// points thins a curve in the coordinates in which it will be seen.
func (c LineChart) points(x, y []float64) plotter.XYs {
	seen := func(v []float64, log bool) []float64 {
		if !log {
			return v
		}
		out := make([]float64, len(v))
		for i := range v {
			out[i] = math.Log10(v[i])
		}
		return out
	}
	var xys plotter.XYs
	for _, i := range thin(seen(x, c.LogX), seen(y, c.LogY), maxPoints) {
		xys = append(xys, plotter.XY{X: x[i], Y: y[i]})
	}
	return xys
}

// extent returns the range of the values and their intervals, zero included.
func (c GroupedBarChart) extent() span {
	var y span
	for _, g := range c.Groups {
		for i, v := range g.Values {
			y.add(v)
			if g.Intervals != nil {
				y.add(g.Intervals[i][0])
				y.add(g.Intervals[i][1])
			}
		}
	}
	return y
}

func (c GroupedBarChart) plot(width vg.Length) *plot.Plot {
	p := newPlot(c.XLabel, c.YLabel)
	y := c.extent()
	allWhole := true
	for _, g := range c.Groups {
		allWhole = allWhole && whole(g.Values)
	}
	if c.Percent {
		y.add(1)
		p.Y.Tick.Marker = percentTicks(y)
	} else {
		if y.lo == y.hi {
			y.hi = 1
		}
		p.Y.Tick.Marker = plot.ConstantTicks(linearTicks(y, 6, allWhole))
	}
	head := 0.08 * (y.hi - y.lo) // room for the value above the highest bar
	p.Y.Min, p.Y.Max = y.lo, y.hi+head
	if y.lo < 0 {
		p.Y.Min -= head
	}
	p.X.Min, p.X.Max = -0.5, float64(len(c.Labels))-0.5
	p.X.Tick.LineStyle.Color = roleGrid.placeholder()
	setLabels(p, c.Labels, width)
	p.Add(bars{c})
	return p
}

func percentTicks(y span) plot.ConstantTicks {
	var ticks plot.ConstantTicks
	for _, t := range linearTicks(span{y.lo * 100, y.hi * 100}, 6, true) {
		ticks = append(ticks, plot.Tick{Value: t.Value / 100, Label: t.Label + " %"})
	}
	return ticks
}

// setLabels writes labels at 0, 1, 2, ... below the chart: level where they fit, figures
// otherwise thinned and words slanted.
func setLabels(p *plot.Plot, labels []string, width vg.Length) {
	style := &p.X.Tick.Label
	slot := (width - 50) / vg.Length(len(labels))
	ticks := make(plot.ConstantTicks, len(labels))
	var widest vg.Length
	figures := true
	for i, l := range labels {
		ticks[i] = plot.Tick{Value: float64(i), Label: elide(l, 18)}
		widest = max(widest, style.Width(ticks[i].Label)+6)
		_, err := strconv.ParseFloat(l, 64)
		figures = figures && err == nil
	}
	if widest > slot && !figures {
		p.X.Tick.Length = 9
		style.Rotation, style.XAlign, style.YAlign = math.Pi/5, draw.XRight, draw.YCenter
		widest = 1.5 * tickSize
	}
	every := 1
	if widest > slot {
		every = int(math.Ceil(float64(widest / slot)))
	}
	for i := range ticks {
		if i%every != 0 {
			ticks[i].Label = ""
		}
	}
	p.X.Tick.Marker = ticks
}

// bars draws the groups of a chart side by side, each label one unit of x wide.
type bars struct{ GroupedBarChart }

func (b bars) Plot(c draw.Canvas, p *plot.Plot) {
	toX, toY := p.Transforms(&c)
	const filled = 0.74 // of the unit; the rest is a gap
	share := filled / float64(len(b.Groups))
	for k, g := range b.Groups {
		for i, v := range g.Values {
			left := float64(i) - filled/2 + float64(k)*share
			x0, x1 := toX(left), toX(left+share*0.94)
			y0, y1 := toY(0), toY(v)
			c.FillPolygon(seriesRole(k).placeholder(), []vg.Point{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}})
			top, foot := v, v
			if g.Intervals != nil {
				foot, top = min(v, g.Intervals[i][0]), max(v, g.Intervals[i][1])
				whisker(&c, (x0+x1)/2, toY(g.Intervals[i][0]), toY(g.Intervals[i][1]), min((x1-x0)/4, 4))
			}
			if v < 0 {
				b.value(&c, v, (x0+x1)/2, x1-x0, toY(foot)-3, draw.YTop)
			} else {
				b.value(&c, v, (x0+x1)/2, x1-x0, toY(top)+3, draw.YBottom)
			}
		}
	}
}

// whisker draws an interval, on a halo that sets it off from the bar.
func whisker(c *draw.Canvas, x, y0, y1, reach vg.Length) {
	for _, style := range []draw.LineStyle{
		{Color: roleCard.placeholder(), Width: 3.5},
		{Color: roleInk.placeholder(), Width: 1.4},
	} {
		halo := style.Width / 2
		c.StrokeLine2(style, x, y0, x, y1)
		c.StrokeLine2(style, x-reach-halo, y0, x+reach+halo, y0)
		c.StrokeLine2(style, x-reach-halo, y1, x+reach+halo, y1)
	}
}

// value writes the figure of a bar at its end where the bar is wide enough for it.
func (b bars) value(c *draw.Canvas, v float64, x, width, y vg.Length, align draw.YAlignment) {
	figure := minus(strconv.FormatFloat(v, 'g', 3, 64))
	if b.Percent {
		figure = minus(strconv.FormatFloat(100*v, 'f', 0, 64))
	}
	style := textStyle(roleInk.placeholder(), valueSize)
	style.YAlign = align
	if style.Width(figure) <= width*1.15 {
		c.FillText(style, vg.Point{X: x, Y: y}, figure)
	}
}

func textStyle(ink color.Color, size vg.Length) text.Style {
	style := text.Style{Color: ink, Font: plot.DefaultFont, XAlign: draw.XCenter, Handler: plot.DefaultTextHandler}
	style.Font.Variant, style.Font.Size = "Sans", size
	return style
}
