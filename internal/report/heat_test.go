package report

import (
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func heatMap() HeatMap {
	return HeatMap{Title: "load", XLabel: "projection", YLabel: "layer", Rows: []string{"0", "1"}, Columns: []string{"q", "k", "v"}, Span: 2,
		Values: [][]float64{{0, 0.5, 1, 2, 4, 9}, {math.NaN(), 1, math.NaN(), 0.25, 1, 1}}, High: 4, Diverging: true, Middle: 1}
}

// depths are the opacities with which a role's cells are filled, the scale's included.
func depths(t *testing.T, c Chart, name string) []string {
	v, err := c.view("id")
	require.NoError(t, err)
	var all []string
	for _, m := range regexp.MustCompile(`fill:var\(--`+name+`\)(?:;fill-opacity:([0-9.]+))?`).FindAllStringSubmatch(string(v.Wide), -1) {
		all = append(all, m[1])
	}
	return all
}

// TestHeatDepths holds that a cell is as deep as its value, on either side of the middle,
// that a value without colour shows its ground alone, and an empty cell nothing.
func TestHeatDepths(t *testing.T) {
	chart := Heat(heatMap())
	scale := 12
	below, above, ground := depths(t, chart, "s2"), depths(t, chart, "s1"), depths(t, chart, "grid")
	require.Len(t, ground, 10+scale)
	require.Equal(t, []string{"0.996", "0.498", "0.749"}, below[:3], "0, 0.5 and 0.25 of 1")
	require.Equal(t, []string{"0.333", "0.996", "0.996"}, above[:3], "2, 4 and 9 of 4")
	require.Len(t, append(below, above...), 3+3+scale)

	c := heatMap()
	c.Diverging = false
	require.Empty(t, depths(t, Heat(c), "s2"))
	require.Equal(t, "0.122", depths(t, Heat(c), "s1")[0])
	require.Equal(t, "Heat map of 2 rows (layer) and 6 columns (projection), on a scale from 0 to 4.", chart.describe)
}

// TestHeatSizes draws one cell, and as many as there may be.
func TestHeatSizes(t *testing.T) {
	for _, n := range [][3]int{{1, 1, 1}, {128, 16, 8}, {80, 7, 20}} {
		c := HeatMap{Title: "t", Span: n[2], High: 1}
		for i := range n[0] {
			c.Rows, c.Values = append(c.Rows, fmt.Sprint(i)), append(c.Values, make([]float64, n[1]*n[2]))
			c.Values[i][0] = 1
		}
		for j := range n[1] {
			c.Columns = append(c.Columns, fmt.Sprint("column ", j))
		}
		chart := Heat(c)
		requireFinite(t, chart)
		v, err := chart.view("id")
		require.NoError(t, err)
		require.Less(t, len(v.Wide), 4<<20)
		require.Equal(t, n[0] == 1, strings.Contains(string(v.Wide), ">1.00<"), "the value stands in a cell with room for it")
	}
	chart := Heat(heatMap())
	require.NoError(t, chart.Export(filepath.Join(t.TempDir(), "heat")))
}

func TestHeatRefuses(t *testing.T) {
	for reason, change := range map[string]func(*HeatMap){
		"has no title":                  func(c *HeatMap) { c.Title = "" },
		"has no series":                 func(c *HeatMap) { c.Rows = nil },
		"of 3 times 0 cells":            func(c *HeatMap) { c.Span = 0 },
		"of 3 times 9000 cells":         func(c *HeatMap) { c.Span = 9000 },
		"1 rows of values for 2 labels": func(c *HeatMap) { c.Values = c.Values[:1] },
		"row 2 has 5 values of 6":       func(c *HeatMap) { c.Values[1] = c.Values[1][:5] },
		"row 1: +Inf cannot be drawn":   func(c *HeatMap) { c.Values[0][3] = math.Inf(1) },
		"does not lie between":          func(c *HeatMap) { c.Middle = 4 },
		"the scale from 4 to 4":         func(c *HeatMap) { c.Low, c.Diverging = 4, false },
		"end 2 is +Inf":                 func(c *HeatMap) { c.High = math.Inf(1) },
	} {
		c := heatMap()
		change(&c)
		chart := Heat(c)
		_, err := render(Page{Title: "page", Sections: []Section{{Chart: &chart}}})
		require.ErrorContains(t, err, reason)
	}
}
