// Package report writes pages that explain one run: HTML with its charts inside it.
//
// A page is one file. Charts are inline SVG, styles are inline CSS, and a content
// security policy forbids every request, so the file opens from a disk or an archive
// years later and looks the same. Charts are drawn by gonum/plot in placeholder
// colours that are then rewritten to CSS variables: the reader's light or dark
// preference decides what is seen. A page without an explorer or a sortable table has no
// script; one with them has one, which the policy knows by its hash. Each chart is drawn twice, for a
// wide and for a narrow window, because a scaled-down chart has unreadable labels.
//
// Curves of more than 600 points are thinned by largest-triangle-three-buckets
// (S. Steinarsson, "Downsampling Time Series for Visual Representation", MSc thesis,
// University of Iceland, 2013): the points are cut into n-2 buckets between the first
// and the last, and of bucket i stays the point c that maximises the area
//
//	½ |(a.x − m.x)(c.y − a.y) − (a.x − c.x)(m.y − a.y)|
//
// with a the point kept before and m the mean of bucket i+1. First and last point and
// the peaks survive.
//
// The same page gives the same bytes. All text is escaped: none of it is trusted.
package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io"
	"strings"

	"alphalora/internal/atomicfile"
)

// Page is one report.
type Page struct {
	Title    string // required; also the title of the window
	Subtitle string
	Refresh  int    // seconds after which a browser reads the page anew; 0: never
	Facts    []Fact // shown as cards below the title
	Sections []Section
}

// Fact is one figure worth seeing first, such as {"experts", "160"}.
type Fact struct{ Label, Value string }

// Section is a heading with text, a chart, a table, or any of these. Blank lines in
// Text divide paragraphs.
type Section struct {
	Heading, Text string
	Chart         *Chart
	Explorer      *Explorer // this or Matrices
	Matrices      *MatrixExplorer
	Table         *Table
}

// Table holds cells as the reader shall see them. The first column names the row;
// columns of figures are aligned to the right. Tables of more than 24 rows start folded.
type Table struct {
	Caption  string
	Columns  []string
	Rows     [][]string // each as long as Columns
	Sortable bool       // by a click on a column's name
}

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageScript string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// Write renders p to path, whole or not at all. It fails, naming the section, the chart
// and the series, when a chart has nothing to show or a value that cannot be drawn, and
// when a table's row does not fit its columns.
func Write(path string, p Page) error {
	page, err := render(p)
	if err != nil {
		return fmt.Errorf("%s: not written: %w", path, err)
	}
	return atomicfile.Write(path, func(w io.Writer) error { _, err := w.Write(page); return err })
}

type pageView struct {
	Title, Subtitle string
	Refresh         int
	Style           template.CSS
	Script          template.JS // empty where nothing needs one
	ScriptHash      string      // by which the page's policy lets this one script run
	Facts           []Fact
	Sections        []sectionView
}

type sectionView struct {
	Heading    string
	Paragraphs []string
	Chart      *chartView
	Explorer   *explorerView
	Table      *tableView
}

type tableView struct {
	Caption string
	Columns []cell
	Rows    [][]cell
	Folded  bool

	Sortable bool
}

type cell struct {
	Text   string
	Figure bool
}

func render(p Page) ([]byte, error) {
	if strings.TrimSpace(p.Title) == "" {
		return nil, errors.New("page: has no title")
	}
	v := pageView{Title: p.Title, Subtitle: p.Subtitle, Refresh: p.Refresh, Style: template.CSS(pageCSS), Facts: p.Facts}
	for i, s := range p.Sections {
		sv, err := viewSection(fmt.Sprintf("chart-%d", i+1), s)
		if err != nil {
			return nil, fmt.Errorf("section %q: %w", s.Heading, err)
		}
		v.Sections = append(v.Sections, sv)
		if sv.Explorer != nil || sv.Table != nil && sv.Table.Sortable {
			v.Script, v.ScriptHash = template.JS(pageScript), scriptHash()
		}
	}
	var page bytes.Buffer
	if err := pageTemplate.Execute(&page, v); err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	return page.Bytes(), nil
}

func viewSection(id string, s Section) (v sectionView, err error) {
	v.Heading = s.Heading
	if s.Explorer != nil && s.Matrices != nil {
		return v, errors.New("has two explorers: give each a section of its own")
	}
	for paragraph := range strings.SplitSeq(s.Text, "\n\n") {
		if paragraph = strings.TrimSpace(paragraph); paragraph != "" {
			v.Paragraphs = append(v.Paragraphs, paragraph)
		}
	}
	if s.Chart != nil {
		if v.Chart, err = s.Chart.view(id); err != nil {
			return v, err
		}
	}
	if s.Explorer != nil {
		if v.Explorer, err = s.Explorer.view(id); err != nil {
			return v, err
		}
	}
	if s.Matrices != nil {
		if v.Explorer, err = s.Matrices.view(id); err != nil {
			return v, err
		}
	}
	if s.Table != nil {
		v.Table, err = s.Table.view()
	}
	return v, err
}

// scriptHash is how a content security policy names the script.
func scriptHash() string {
	sum := sha256.Sum256([]byte(pageScript))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// foldedRows is the number of rows above which a table starts folded.
const foldedRows = 24

func (t *Table) view() (*tableView, error) {
	if len(t.Columns) == 0 {
		return nil, fmt.Errorf("table %q: has no columns", t.Caption)
	}
	v := &tableView{Caption: t.Caption, Sortable: t.Sortable, Folded: len(t.Rows) > foldedRows}
	for j, name := range t.Columns {
		v.Columns = append(v.Columns, cell{name, j > 0 && t.figures(j)})
	}
	for i, row := range t.Rows {
		if len(row) != len(t.Columns) {
			return nil, fmt.Errorf("table %q: row %d has %d cells, the header has %d", t.Caption, i+1, len(row), len(t.Columns))
		}
		cells := make([]cell, len(row))
		for j, text := range row {
			if v.Columns[j].Figure {
				text = unbroken.Replace(text)
			}
			cells[j] = cell{text, v.Columns[j].Figure}
		}
		v.Rows = append(v.Rows, cells)
	}
	return v, nil
}

// unbroken keeps a figure and its unit together; only an interval may go to a new line.
var unbroken = strings.NewReplacer(" [", " [", " ", "\u00A0")

// figures tells whether every cell of column j starts as a number does, or is a dash.
func (t *Table) figures(j int) bool {
	for _, row := range t.Rows {
		if j < len(row) && !strings.ContainsAny(firstOf(row[j]), "0123456789+-−–—±<≤≥") {
			return false
		}
	}
	return len(t.Rows) > 0
}

// firstOf returns the first character of s, or a dash for an empty cell.
func firstOf(s string) string {
	for _, r := range s {
		return string(r)
	}
	return "–"
}
