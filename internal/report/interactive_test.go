package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func explorerPage() Page {
	return Page{Title: "t", Sections: []Section{{Heading: "Density", Explorer: &Explorer{
		Title: "Density", Choose: "Matrix", XLabel: "λ", YLabel: "density", MarkLabel: "xmin",
		Items: []Item{
			{Name: "a</script><b>", Note: "</script>note", X: []float64{1, 2}, Y: []float64{0.5, 0.123456}, FitX: []float64{1, 2}, FitY: []float64{1, 0.1}, Mark: 1.5},
			{Name: "empty"},
		},
	}, Table: &Table{Columns: []string{"layer", "alpha"}, Rows: [][]string{{"0", "3.1"}}, Sortable: true}}}}
}

// The only script that the page's policy lets run is the page's own, and what it reads is
// whole JSON, whatever the names are.
func TestExplorerIsSafeAndWhole(t *testing.T) {
	page, err := render(explorerPage())
	require.NoError(t, err)
	html := string(page)
	require.Equal(t, 2, strings.Count(html, "</script>"))
	parts := regexp.MustCompile(`(?s)<script>(.*)</script>\n?</body>`).FindStringSubmatch(html)
	require.NotNil(t, parts)
	sum := sha256.Sum256([]byte(parts[1]))
	policy := regexp.MustCompile(`Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(html)
	require.NotNil(t, policy)
	require.Contains(t, strings.ReplaceAll(policy[1], "&#43;", "+"), "script-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	require.NotContains(t, html, "<b>")

	data := regexp.MustCompile(`(?s)<script type="application/json">(.*?)</script>`).FindStringSubmatch(html)
	require.NotNil(t, data)
	var read explorerData
	require.NoError(t, json.Unmarshal([]byte(data[1]), &read))
	require.Len(t, read.Items, 2)
	require.Equal(t, "</script>note", read.Items[0].Note)
	require.Equal(t, []float64{0.5, 0.1235}, read.Items[0].Y)
	require.NotNil(t, read.Items[1].X)
	require.Contains(t, html, `<table class="sortable">`)
	require.Contains(t, html, `<section class="broad">`)
}

func TestPageWithoutInteractionHasNoScript(t *testing.T) {
	page, err := render(Page{Title: "t", Sections: []Section{{Table: &Table{Columns: []string{"a"}, Rows: [][]string{{"1"}}}}}})
	require.NoError(t, err)
	require.NotContains(t, string(page), "<script")
	require.NotContains(t, string(page), "script-src")
}

func TestExplorerRefuses(t *testing.T) {
	many := make([]float64, maxItemPoints+1)
	for i := range many {
		many[i] = 1
	}
	for reason, item := range map[string]Item{
		"different number": {Name: "i", X: []float64{1}},
		"more than":        {Name: "i", X: many, Y: many},
		"logarithmic axis": {Name: "i", X: []float64{0}, Y: []float64{1}},
		"mark":             {Name: "i", Mark: -1},
	} {
		p := explorerPage()
		p.Sections[0].Explorer.Items = []Item{item}
		_, err := render(p)
		require.ErrorContains(t, err, reason)
		require.ErrorContains(t, err, `item "i"`)
	}
	p := explorerPage()
	p.Sections[0].Explorer.Items = make([]Item, maxItems+1)
	_, err := render(p)
	require.ErrorContains(t, err, "at most")
}

// A file that stands alone has no placeholder left, and is an image.
func TestExport(t *testing.T) {
	chart := Lines(LineChart{Title: "Two", XLabel: "layer", YLabel: "alpha", Series: []Series{
		{Name: "one", Y: []float64{1, 2, 3}, Style: Markers}, {Name: "two", Y: []float64{3, 1, 2}, Smooth: 3},
	}})
	base := filepath.Join(t.TempDir(), "two")
	require.NoError(t, chart.Export(base))
	svg, err := os.ReadFile(base + ".svg")
	require.NoError(t, err)
	require.NotRegexp(t, `#0000[0-4][0-9A-F]`, string(svg))
	require.Contains(t, string(svg), "#0B63C5")
	require.Contains(t, string(svg), ">Two<")
	require.Contains(t, string(svg), ">one<")
	data, err := os.ReadFile(base + ".png")
	require.NoError(t, err)
	image, err := png.Decode(bytes.NewReader(data))
	require.NoError(t, err)
	require.Equal(t, 2*wideWidth, image.Bounds().Dx())
	bad := Lines(LineChart{Title: "None"})
	require.Error(t, bad.Export(base))
}

func matrixPage(item Matrix) Page {
	return Page{Title: "t", Sections: []Section{{Heading: "Pairs", Matrices: &MatrixExplorer{
		Title: "Pairs", Choose: "Projection", RowName: "expert", Unit: "percent", Items: []Matrix{item}}}}}
}

func TestMatricesAreSafeAndWhole(t *testing.T) {
	page, err := render(matrixPage(Matrix{Name: "</script><b>", Note: "</script>", Values: [][]float64{{0.123456, 0}, {0, 1}}}))
	require.NoError(t, err)
	html := string(page)
	require.Equal(t, 2, strings.Count(html, "</script>"))
	require.NotContains(t, html, "<b>")
	require.Contains(t, html, "script-src 'sha256-")
	data := regexp.MustCompile(`(?s)<script type="application/json">(.*?)</script>`).FindStringSubmatch(html)
	require.NotNil(t, data)
	var read matricesData
	require.NoError(t, json.Unmarshal([]byte(data[1]), &read))
	require.Equal(t, "percent", read.Unit)
	require.Equal(t, [][]float64{{0.1235, 0}, {0, 1}}, read.Items[0].Values)
}

func TestMatricesRefuse(t *testing.T) {
	wide := make([][]float64, 1<<10)
	for i := range wide {
		wide[i] = make([]float64, 1<<10)
	}
	for reason, values := range map[string][][]float64{
		`item "i": row 2: has 1 values of 2`:    {{1, 2}, {3}},
		`item "i": row 1: value 1 is NaN`:       {{math.NaN()}},
		"has 1 items of 1048576 cells, at most": wide,
	} {
		_, err := render(matrixPage(Matrix{Name: "i", Values: values}))
		require.ErrorContains(t, err, reason)
	}
	p := matrixPage(Matrix{Name: "i"})
	p.Sections[0].Matrices.Unit = ""
	_, err := render(p)
	require.ErrorContains(t, err, "no unit")
	p.Sections[0].Explorer = &Explorer{}
	_, err = render(p)
	require.ErrorContains(t, err, "two explorers")
}
