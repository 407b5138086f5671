package report

import (
	"fmt"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// HeatMap shows the cells of a grid, each in a colour as deep as its value is large. With
// Diverging, a cell of the value Middle has no colour, and those below have another one
// than those above.
type HeatMap struct {
	Title, XLabel, YLabel string
	Rows                  []string    // from top to bottom
	Columns               []string    // each stands below Span cells
	Span                  int         // 1 or more
	Values                [][]float64 // [Rows][Columns·Span]; NaN leaves its cell empty
	Low, High             float64     // the ends of the scale; values beyond look like these
	Diverging             bool
	Middle                float64 // between Low and High
}

// MaxCells is the most cells of a [HeatMap].
const MaxCells = 1 << 14

// Sizes of a heat map, in CSS pixels.
const (
	rowHeight    = vg.Length(22) // of few rows
	rowsHeight   = vg.Length(640)
	scaleHeight  = vg.Length(28) // of the scale above the rows
	aroundHeight = vg.Length(66) // of the labels below
)

// Heat draws a heat map.
func Heat(c HeatMap) Chart {
	chart := Chart{title: c.Title, err: c.check()}
	if chart.err != nil {
		return chart
	}
	chart.height = c.rowHeight()*vg.Length(len(c.Rows)) + scaleHeight + aroundHeight
	chart.describe = fmt.Sprintf("Heat map of %d rows (%s) and %d columns (%s), on a scale from %s to %s.",
		len(c.Rows), axisName(c.YLabel, "y"), len(c.Columns)*c.Span, axisName(c.XLabel, "x"), short(c.Low), short(c.High))
	chart.draw = c.plot
	return chart
}

func (c HeatMap) rowHeight() vg.Length { return min(rowHeight, rowsHeight/vg.Length(len(c.Rows))) }

func (c HeatMap) check() error {
	if err := checkTitle(c.Title, len(c.Rows)*len(c.Columns)); err != nil {
		return err
	}
	what := fmt.Sprintf("chart %q", c.Title)
	switch {
	case c.Span < 1 || len(c.Rows)*len(c.Columns)*c.Span > MaxCells:
		return fmt.Errorf("%s: %d rows of %d times %d cells: 1 to %d can be drawn", what, len(c.Rows), len(c.Columns), c.Span, MaxCells)
	case len(c.Values) != len(c.Rows):
		return fmt.Errorf("%s: has %d rows of values for %d labels", what, len(c.Values), len(c.Rows))
	case c.Diverging && (c.Middle <= c.Low || c.Middle >= c.High):
		return fmt.Errorf("%s: the middle %v does not lie between %v and %v", what, c.Middle, c.Low, c.High)
	case !(c.Low < c.High):
		return fmt.Errorf("%s: the scale from %v to %v is empty", what, c.Low, c.High)
	}
	if err := checkValues(what, "end", []float64{c.Low, c.High}, false); err != nil {
		return err
	}
	for i, row := range c.Values {
		if len(row) != len(c.Columns)*c.Span {
			return fmt.Errorf("%s: row %d has %d values of %d", what, i+1, len(row), len(c.Columns)*c.Span)
		}
		for _, v := range row {
			if math.IsInf(v, 0) || math.Abs(v) > maxValue {
				return fmt.Errorf("%s: row %d: %v cannot be drawn", what, i+1, v)
			}
		}
	}
	return nil
}

// plot lays a column out as one unit of x and a row as one of y, the first on top.
func (c HeatMap) plot(width vg.Length) *plot.Plot {
	p := newAxes(c.XLabel, c.YLabel)
	n := float64(len(c.Rows))
	p.X.Min, p.X.Max = -0.5, float64(len(c.Columns))-0.5
	p.Y.Min, p.Y.Max = 0, n+float64(scaleHeight/c.rowHeight())
	p.X.LineStyle.Width, p.X.Tick.LineStyle.Color, p.Y.Padding = 0, roleGrid.placeholder(), 6
	setLabels(p, c.Columns, width)
	every := int(math.Ceil(float64((tickSize + 2) / c.rowHeight())))
	var ticks plot.ConstantTicks
	for i := 0; i < len(c.Rows); i += every {
		ticks = append(ticks, plot.Tick{Value: n - float64(i) - 0.5, Label: elide(c.Rows[i], 18)})
	}
	p.Y.Tick.Marker = ticks
	p.Add(cells{c})
	return p
}

// colour of a value: the role, and how deep it is between 0 and 1.
func (c HeatMap) colour(v float64) (role, float64) {
	v = min(c.High, max(c.Low, v))
	switch {
	case !c.Diverging:
		return roleSeries, (v - c.Low) / (c.High - c.Low)
	case v < c.Middle:
		return roleSeries + 1, (c.Middle - v) / (c.Middle - c.Low)
	default:
		return roleSeries, (v - c.Middle) / (c.High - c.Middle)
	}
}

// cells draws the grid of a heat map and its scale.
type cells struct{ HeatMap }

func (h cells) Plot(c draw.Canvas, p *plot.Plot) {
	toX, toY := p.Transforms(&c)
	for i, row := range h.Values {
		bottom, top := toY(float64(len(h.Rows)-i-1)), toY(float64(len(h.Rows)-i))
		for j, v := range row {
			if math.IsNaN(v) {
				continue
			}
			left := -0.5 + float64(j)/float64(h.Span)
			h.cell(&c, v, vg.Rectangle{Min: vg.Point{X: toX(left), Y: bottom}, Max: vg.Point{X: toX(left + 1/float64(h.Span)), Y: top}})
		}
	}
	if h.Span > 1 {
		line := draw.LineStyle{Color: roleMuted.placeholder(), Width: 1}
		for j := range len(h.Columns) - 1 {
			c.StrokeLine2(line, toX(float64(j)+0.5), toY(0), toX(float64(j)+0.5), toY(float64(len(h.Rows))))
		}
	}
	h.scale(&c)
}

// cell fills a rectangle on a ground that shows where there is a value, and writes the
// value where there is room for it.
func (h cells) cell(c *draw.Canvas, v float64, r vg.Rectangle) {
	gap := min(1, (r.Max.X-r.Min.X)/8, (r.Max.Y-r.Min.Y)/8)
	r.Max.X, r.Max.Y = r.Max.X-gap, r.Max.Y-gap
	corners := []vg.Point{r.Min, {X: r.Max.X, Y: r.Min.Y}, r.Max, {X: r.Min.X, Y: r.Max.Y}}
	ink, depth := h.colour(v)
	c.FillPolygon(roleGrid.placeholder(), corners)
	if depth > 0 {
		c.FillPolygon(ink.deep(depth), corners)
	}
	figure := minus(strconv.FormatFloat(v, 'f', 2, 64))
	style := textStyle(roleInk.placeholder(), valueSize)
	if depth > 0.55 {
		style.Color = roleCard.placeholder()
	}
	style.YAlign = draw.YCenter
	if style.Width(figure)+6 <= r.Max.X-r.Min.X && valueSize+2 <= r.Max.Y-r.Min.Y {
		c.FillText(style, vg.Point{X: (r.Min.X + r.Max.X) / 2, Y: (r.Min.Y + r.Max.Y) / 2}, figure)
	}
}

// scale draws, above the grid at its right, how deep the colours of values are.
func (h cells) scale(c *draw.Canvas) {
	const steps, width, height = 12, vg.Length(9), vg.Length(9)
	style := textStyle(roleMuted.placeholder(), valueSize)
	style.YAlign = draw.YCenter
	high, low := minus(fmt.Sprintf("%.3g", h.High)), minus(fmt.Sprintf("%.3g", h.Low))
	room := func(text string) vg.Length { return 1.3*style.Width(text) + 12 } // the reader's font may be wider
	y := c.Max.Y - scaleHeight/2
	x := c.Max.X - room(high) - steps*width
	c.FillText(style, vg.Point{X: c.Max.X - room(high)/2, Y: y}, high)
	c.FillText(style, vg.Point{X: x - room(low)/2, Y: y}, low)
	for i := range steps {
		ink, depth := h.colour(h.Low + (h.High-h.Low)*float64(i)/(steps-1))
		left := x + vg.Length(i)*width
		corners := []vg.Point{{X: left, Y: y - height/2}, {X: left + width, Y: y - height/2}, {X: left + width, Y: y + height/2}, {X: left, Y: y + height/2}}
		c.FillPolygon(roleGrid.placeholder(), corners)
		if depth > 0 {
			c.FillPolygon(ink.deep(depth), corners)
		}
	}
}
