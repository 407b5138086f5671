package report

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"html/template"
	"image/color"
	"regexp"
	"strconv"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// role is a colour that the style sheet decides. Its placeholder in the drawing is the
// opaque colour #0000NN with NN the role; bit 0x40 makes it pale. #00DDNN has the depth DD:
// of 255 parts of the colour so many, the rest is the ground that shines through.
type role uint8

const (
	roleInk role = iota + 1
	roleMuted
	roleGrid
	roleCard
	roleSeries // the first of seriesColours
)

const (
	seriesColours      = 6
	pale          role = 0x40
)

var roleNames = [...]string{roleInk: "ink", roleMuted: "muted", roleGrid: "grid", roleCard: "card", roleSeries: "s1", "s2", "s3", "s4", "s5", "s6"}

func (r role) placeholder() color.Color { return color.NRGBA{B: uint8(r), A: 255} }

// deep is the placeholder of the role at a depth between 0 and 1.
func (r role) deep(depth float64) color.Color {
	return color.NRGBA{G: uint8(min(254, max(1, 255*depth))), B: uint8(r), A: 255}
}

func seriesRole(i int) role { return roleSeries + role(i%seriesColours) }

func seriesClass(i int) string { return roleNames[seriesRole(i)] }

type chartView struct {
	Title        string
	Legend       []key
	Wide, Narrow template.HTML
}

// The drawings' sizes, in CSS pixels at their natural scale.
const (
	wideWidth, wideHeight     = 710, 300
	narrowWidth, narrowHeight = 360, 280
)

func (c *Chart) view(id string) (*chartView, error) {
	if c.err == nil && c.draw == nil {
		return nil, errors.New("chart: is not made by Lines, Bars, GroupedBars or Heat")
	}
	if c.err != nil {
		return nil, c.err
	}
	v := &chartView{Title: c.title, Legend: c.legend}
	if len(v.Legend) == 1 && !strings.Contains(v.Legend[0].Class, "dash") {
		v.Legend = nil // the title and the axis name the only series
	}
	var err error
	if v.Wide, err = c.svg(id, "wide", wideWidth, c.tall(wideHeight)); err != nil {
		return nil, err
	}
	v.Narrow, err = c.svg(id, "narrow", narrowWidth, c.tall(narrowHeight))
	return v, err
}

// svg draws the chart and gives the drawing the page's colours, font and a description
// for those who do not see it.
func (c *Chart) svg(id, class string, width, height vg.Length) (template.HTML, error) {
	canvas := vgsvg.New(width, height)
	c.draw(width).Draw(draw.New(canvas))
	var raw bytes.Buffer
	if _, err := canvas.WriteTo(&raw); err != nil {
		return "", fmt.Errorf("chart %q: %w", c.title, err)
	}
	_, body, found := strings.Cut(raw.String(), "<svg")
	_, body, closed := strings.Cut(body, ">\n")
	if !found || !closed {
		return "", fmt.Errorf("chart %q: the drawing has no svg element", c.title)
	}
	id += "-" + class
	head := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" class="chart %s" viewBox="0 0 %g %g" role="img" aria-labelledby="%s-title %[4]s-desc">
<title id="%[4]s-title">%[5]s</title>
<desc id="%[4]s-desc">%[6]s</desc>
`, class, float64(width), float64(height), id, html.EscapeString(plain(c.title)), html.EscapeString(plain(c.describe)))
	return template.HTML(head + styleAttribute.ReplaceAllStringFunc(strings.TrimSpace(body), restyle)), nil
}

// Text is escaped by vgsvg, its quotes too, so that only attributes can match.
var (
	styleAttribute = regexp.MustCompile(`style="[^"]*"`)
	placeholders   = regexp.MustCompile(`(fill|stroke):#00([0-9A-F]{2})([0-9A-F]{2})`)
	fontProperties = regexp.MustCompile(`font-(family|variant|weight|style):[^;"]*;?`)
)

// restyle replaces placeholders by CSS variables and leaves the font to the style sheet.
func restyle(attribute string) string {
	attribute = fontProperties.ReplaceAllString(attribute, "")
	return placeholders.ReplaceAllStringFunc(attribute, func(match string) string {
		part := placeholders.FindStringSubmatch(match)
		n, err := strconv.ParseUint(part[2]+part[3], 16, 16)
		r, depth := role(n), n>>8
		if err != nil || int(r&^pale) >= len(roleNames) {
			return match
		}
		property := fmt.Sprintf("%s:var(--%s)", part[1], roleNames[r&^pale])
		switch {
		case r&pale != 0:
			property += ";" + part[1] + "-opacity:0.4"
		case depth > 0:
			property += fmt.Sprintf(";%s-opacity:%.3g", part[1], float64(depth)/255)
		}
		return property
	})
}

// plain puts text on one line and replaces what XML cannot hold.
func plain(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "\uFFFD")), " ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == '\uFFFE' || r == '\uFFFF' {
			return '\uFFFD'
		}
		return r
	}, text)
}

// elide is plain text of at most n characters.
func elide(text string, n int) string {
	runes := []rune(plain(text))
	if len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return string(runes)
}
