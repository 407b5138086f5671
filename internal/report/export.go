package report

import (
	"fmt"
	"image/color"
	"io"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"alphalora/internal/atomicfile"
)

// printColours are the light page's, for files that stand alone.
var printColours = map[role]color.NRGBA{
	roleInk: {0x1b, 0x1f, 0x24, 255}, roleMuted: {0x57, 0x60, 0x6a, 255}, roleGrid: {0xe6, 0xe9, 0xee, 255}, roleCard: {255, 255, 255, 255},
	roleSeries: {0x0b, 0x63, 0xc5, 255}, roleSeries + 1: {0xc2, 0x54, 0x0a, 255}, roleSeries + 2: {0x1a, 0x7f, 0x37, 255},
	roleSeries + 3: {0x82, 0x50, 0xdf, 255}, roleSeries + 4: {0xb3, 0x26, 0x6d, 255}, roleSeries + 5: {0x57, 0x60, 0x6a, 255},
}

// printed is a canvas on which placeholders are drawn in the colours of printColours.
type printed struct{ vg.CanvasSizer }

func (p printed) SetColor(c color.Color) {
	if c == nil {
		p.CanvasSizer.SetColor(c)
		return
	}
	n := color.NRGBAModel.Convert(c).(color.NRGBA)
	r := role(n.B)
	if found, ok := printColours[r&^pale]; ok && n.R == 0 {
		found.A = n.A
		switch {
		case r&pale != 0:
			found.A = 102
		case n.G > 0:
			found.A = n.G
		}
		p.CanvasSizer.SetColor(found)
		return
	}
	p.CanvasSizer.SetColor(c)
}

// Above an exported drawing stand its title and, where it has several series, its legend.
const titleHeight, legendHeight = vg.Length(26), vg.Length(20)

// Export writes the chart as base.svg and base.png, each whole or not at all, on white.
func (c *Chart) Export(base string) error {
	if c.err != nil {
		return c.err
	}
	height := c.tall(wideHeight) + titleHeight
	if len(c.legend) > 1 {
		height += legendHeight
	}
	svg := vgsvg.New(wideWidth, height)
	c.print(svg)
	if err := atomicfile.Write(base+".svg", func(w io.Writer) error { _, err := svg.WriteTo(w); return err }); err != nil {
		return fmt.Errorf("chart %q: %w", c.title, err)
	}
	png := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(wideWidth, height), vgimg.UseDPI(144))}
	c.print(png)
	if err := atomicfile.Write(base+".png", func(w io.Writer) error { _, err := png.WriteTo(w); return err }); err != nil {
		return fmt.Errorf("chart %q: %w", c.title, err)
	}
	return nil
}

func (c *Chart) print(on vg.CanvasSizer) {
	canvas := draw.New(printed{on})
	canvas.SetColor(color.White)
	canvas.Fill(canvas.Rectangle.Path())
	canvas = draw.Crop(canvas, 8, -14, 4, 0)
	style := textStyle(roleInk.placeholder(), labelSize)
	style.XAlign, style.YAlign = draw.XLeft, draw.YCenter
	canvas.FillText(style, vg.Point{X: canvas.Min.X, Y: canvas.Max.Y - titleHeight/2}, elide(c.title, 90))
	canvas = draw.Crop(canvas, 0, 0, 0, -titleHeight)
	if len(c.legend) > 1 {
		canvas = c.printLegend(canvas)
	}
	c.draw(wideWidth).Draw(canvas)
}

// printLegend draws swatches and names along the top, and returns what is left below.
func (c *Chart) printLegend(canvas draw.Canvas) draw.Canvas {
	const swatch = vg.Length(12)
	style := textStyle(roleMuted.placeholder(), tickSize)
	style.XAlign, style.YAlign = draw.XLeft, draw.YCenter
	x, y := canvas.Min.X, canvas.Max.Y-legendHeight/2
	for _, k := range c.legend {
		canvas.FillPolygon(k.role().placeholder(), []vg.Point{{X: x, Y: y - 4}, {X: x + swatch, Y: y - 4}, {X: x + swatch, Y: y + 4}, {X: x, Y: y + 4}})
		name := elide(k.Name, 60)
		canvas.FillText(style, vg.Point{X: x + swatch + 6, Y: y}, name)
		x += swatch + 6 + style.Width(name) + 18
	}
	return draw.Crop(canvas, 0, 0, 0, -legendHeight)
}

// role is the colour of the entry's swatch, by the class that the page uses.
func (k key) role() role {
	for i := range seriesColours {
		if strings.HasSuffix(k.Class, seriesClass(i)) {
			return seriesRole(i)
		}
	}
	return roleInk
}
