package report

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// svgElements parses each drawing of a page strictly and returns its text and its style
// attributes.
func svgElements(t *testing.T, page string) (count int, text string, styles []string) {
	t.Helper()
	for _, svg := range regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(page, -1) {
		count++
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			switch e := token.(type) {
			case xml.CharData:
				text += string(e)
			case xml.StartElement:
				for _, a := range e.Attr {
					if a.Name.Local == "style" {
						styles = append(styles, a.Value)
					}
				}
			}
		}
	}
	return count, text, styles
}

func hostilePage(text string) Page {
	lines := Lines(LineChart{Title: text, XLabel: text, YLabel: text, Series: []Series{
		{Name: text, Y: []float64{1, 2, 3}, Smooth: 3}, {Name: text, Y: []float64{2}, Style: DashedFit},
	}})
	bars := GroupedBars(GroupedBarChart{Title: text, XLabel: text, YLabel: text, Labels: []string{text, "b", text},
		Groups: []Group{{Name: text, Values: []float64{1, -2, 0}, Intervals: [][2]float64{{0, 2}, {-3, -1}, {0, 0}}}}})
	return Page{Title: text, Subtitle: text, Facts: []Fact{{text, text}}, Sections: []Section{
		{Heading: text, Text: text, Chart: &lines},
		{Heading: text, Chart: &bars, Table: &Table{Caption: text, Columns: []string{text, text}, Rows: [][]string{{text, text}}}},
	}}
}

func TestTextIsEscaped(t *testing.T) {
	for _, text := range []string{
		`</title></svg><script>alert(1)</script>`, `"><img src=x onerror=y>`, `style="fill:#000001" & ]]> <!--`,
		"\x00\x1b[31m\xff\xfe\uFFFF", "日本語 🦙 \u202e", "line\nbreak\r\n", "{{.Title}}", `javascript:'"`,
	} {
		page, err := render(hostilePage("t" + text))
		require.NoError(t, err, text)
		for _, bad := range []string{"<script", "<img", "onerror=y>"} {
			require.NotContains(t, string(page), bad)
		}
		count, shown, _ := svgElements(t, string(page))
		require.Equal(t, 4, count, text)
		require.Contains(t, shown, elide("t"+text, 18), "the label is shown as it is")
	}
}

func TestColoursComeFromTheStyleSheet(t *testing.T) {
	var series []Series
	for range 2 * seriesColours {
		series = append(series, Series{Name: "s", Y: []float64{1, 3, 2}, Smooth: 3})
	}
	lines := Lines(LineChart{Title: "t", Series: series})
	p := hostilePage("t")
	p.Sections = append(p.Sections, Section{Chart: &lines})
	page, err := render(p)
	require.NoError(t, err)
	_, _, styles := svgElements(t, string(page))
	light, dark, found := strings.Cut(pageCSS, "prefers-color-scheme: dark")
	require.True(t, found)
	colours := 0
	for _, style := range styles {
		require.NotContains(t, style, "font-family")
		for _, m := range regexp.MustCompile(`(?:fill|stroke):([^;]*)`).FindAllStringSubmatch(style, -1) {
			if m[1] == "none" {
				continue
			}
			require.Regexp(t, `^var\(--[a-z0-9]+\)$`, m[1])
			name := strings.TrimSuffix(strings.TrimPrefix(m[1], "var("), ")") + ": #"
			require.Contains(t, light, name)
			require.Contains(t, dark, name)
			colours++
		}
	}
	require.Greater(t, colours, 50)
}

func TestPageNeedsNothingElse(t *testing.T) {
	page, err := render(hostilePage("t"))
	require.NoError(t, err)
	rest := strings.ReplaceAll(string(page), `xmlns="http://www.w3.org/2000/svg"`, "")
	require.NotEqual(t, string(page), rest)
	for _, reference := range []string{"http:", "https:", "//", "src=", "href=", "url(", "@import", "<script", "<link", "<?xml"} {
		require.NotContains(t, rest, reference)
	}
}

func TestSamePageSameBytes(t *testing.T) {
	first, err := render(hostilePage("t"))
	require.NoError(t, err)
	for range 3 {
		again, err := render(hostilePage("t"))
		require.NoError(t, err)
		require.Equal(t, string(first), string(again))
	}
}

func TestIdentifiersAreUnique(t *testing.T) {
	page, err := render(hostilePage("t"))
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(string(page), -1) {
		require.False(t, seen[m[1]], m[1])
		seen[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`aria-labelledby="(\S+) (\S+)"`).FindAllStringSubmatch(string(page), -1) {
		require.True(t, seen[m[1]] && seen[m[2]], m[0])
	}
	require.Len(t, seen, 8)
}

func TestErrorsNameTheSeries(t *testing.T) {
	line := func(s Series) Chart { return Lines(LineChart{Title: "loss", Series: []Series{s}}) }
	bar := func(g Group) Chart {
		return GroupedBars(GroupedBarChart{Title: "tasks", Labels: []string{"a", "b"}, Groups: []Group{g}})
	}
	for want, chart := range map[string]Chart{
		`chart "loss": series "raw": y 2 is NaN, not a finite number`:                      line(Series{Name: "raw", Y: []float64{1, math.NaN()}}),
		`chart "loss": series "raw": x 1 is -Inf, not a finite number`:                     line(Series{Name: "raw", X: []float64{math.Inf(-1)}, Y: []float64{1}}),
		`chart "loss": series "raw": y 1 is 1e+101, beyond ±1e+100`:                        line(Series{Name: "raw", Y: []float64{1e101}}),
		`chart "loss": series "raw": has no points`:                                        line(Series{Name: "raw"}),
		`chart "loss": series "raw": has 2 x values for 1 y values`:                        line(Series{Name: "raw", X: []float64{1, 2}, Y: []float64{1}}),
		`chart "loss": series "raw": has no such style 9`:                                  line(Series{Name: "raw", Y: []float64{1}, Style: 9}),
		`chart "loss": has no series`:                                                      Lines(LineChart{Title: "loss"}),
		`chart "log": series "density": y 1 is 0, but a logarithmic axis starts at 1e-100`: Lines(LineChart{Title: "log", LogY: true, Series: []Series{{Name: "density", Y: []float64{0}}}}),
		`chart "log": series "density": x 1 is 0, but a logarithmic axis starts at 1e-100`: Lines(LineChart{Title: "log", LogX: true, Series: []Series{{Name: "density", Y: []float64{1}}}}),
		`chart "tasks": series "after": value 2 is +Inf, not a finite number`:              bar(Group{Name: "after", Values: []float64{1, math.Inf(1)}}),
		`chart "tasks": series "after": has no values`:                                     bar(Group{Name: "after"}),
		`chart "tasks": series "after": has 1 values for 2 labels`:                         bar(Group{Name: "after", Values: []float64{1}}),
		`chart "tasks": series "after": has 1 intervals for 2 values`:                      bar(Group{Name: "after", Values: []float64{1, 2}, Intervals: make([][2]float64, 1)}),
		`chart "tasks": series "after": interval 1, end 1 is NaN, not a finite number`:     bar(Group{Name: "after", Values: []float64{1, 2}, Intervals: [][2]float64{{math.NaN(), 1}, {}}}),
		`chart "tasks": series "after": interval 1 ends at 0, before its start 1`:          bar(Group{Name: "after", Values: []float64{1, 2}, Intervals: [][2]float64{{1, 0}, {}}}),
		`chart "experts": series "count": has no values`:                                   Bars(BarChart{Title: "experts", YLabel: "count"}),
		`chart "experts": has 1025 bars, of which at most 1024 can be told apart`:          Bars(BarChart{Title: "experts", Labels: make([]string, 1025), Values: make([]float64, 1025)}),
		`chart: has no title`: Lines(LineChart{}),
		`chart: is not made by Lines, Bars, GroupedBars or Heat`: {},
	} {
		_, err := render(Page{Title: "page", Sections: []Section{{Heading: "part", Chart: &chart}}})
		require.EqualError(t, err, `section "part": `+want)
	}
	_, err := render(Page{Title: " "})
	require.EqualError(t, err, "page: has no title")
	for want, table := range map[string]Table{
		`section "part": table "c": has no columns`:                      {Caption: "c"},
		`section "part": table "c": row 1 has 1 cells, the header has 2`: {Caption: "c", Columns: []string{"a", "b"}, Rows: [][]string{{"1"}}},
	} {
		_, err := render(Page{Title: "page", Sections: []Section{{Heading: "part", Table: &table}}})
		require.EqualError(t, err, want)
	}
}

func TestWriteIsWholeOrNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.html")
	require.NoError(t, Write(path, hostilePage("t")))
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(before), "<!DOCTYPE html>"))

	empty := Lines(LineChart{Title: "loss", Series: []Series{{Name: "raw"}}})
	err = Write(path, Page{Title: "page", Sections: []Section{{Heading: "part", Chart: &empty}}})
	require.EqualError(t, err, path+`: not written: section "part": chart "loss": series "raw": has no points`)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestTables(t *testing.T) {
	table := Table{Caption: "c", Columns: []string{"1", "accuracy", "note"}}
	for range foldedRows {
		table.Rows = append(table.Rows, []string{"1", "51.0 % [44.1, 57.8]", "–"})
	}
	table.Rows[0][2] = "seen"
	page, err := render(Page{Title: "page", Sections: []Section{{Table: &table}}})
	require.NoError(t, err)
	require.NotContains(t, string(page), "<details>")
	require.Contains(t, string(page), `<th scope="col">1</th><th scope="col" class="figure">accuracy</th><th scope="col">note</th>`)
	require.Contains(t, string(page), "<th scope=\"row\">1</th><td class=\"figure\">51.0\u00A0% [44.1,\u00A057.8]</td><td>–</td>")

	table.Rows = append(table.Rows, []string{"1", "", "–"})
	page, err = render(Page{Title: "page", Sections: []Section{{Table: &table}}})
	require.NoError(t, err)
	require.Contains(t, string(page), "<summary>c, 25 rows</summary>")
	require.NotContains(t, string(page), "<caption>", "the summary already says it")
}

func TestLegendOnlyWhereItTellsSomething(t *testing.T) {
	one := Lines(LineChart{Title: "t", Series: []Series{{Name: "only", Y: []float64{1, 2}}}})
	smoothed := Lines(LineChart{Title: "t", Series: []Series{{Name: "loss", Y: []float64{1, 2}, Smooth: 3}}})
	bars := Bars(BarChart{Title: "t", YLabel: "n", Labels: []string{"a"}, Values: []float64{1}})
	for chart, want := range map[*Chart]int{&one: 0, &smoothed: 2, &bars: 0} {
		v, err := chart.view("id")
		require.NoError(t, err)
		require.Len(t, v.Legend, want)
	}
	require.Equal(t, "Line chart. x from 0 to 1; y from 1 to 2. Series: loss; loss, mean of 3 points.", smoothed.describe)
	require.Equal(t, "Bar chart of n for 1 bars along x, from 0 to 1. Series: n.", bars.describe)
}
