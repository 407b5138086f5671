package report

import "fmt"

// Explorer is a chart on logarithmic axes of one of many items, which the reader chooses in
// the page; a script of the page draws it. All items are in the page, so their number and
// points are bounded.
type Explorer struct {
	Title, Choose  string // Choose is the label of the choice, such as "Matrix"
	XLabel, YLabel string
	MarkLabel      string // what an item's Mark is
	Items          []Item
}

// Item is one thing to look at: points, a fit laid over them, a vertical line at Mark (none
// where that is 0), and a line of text. Every value is above 0.
type Item struct {
	Name, Note string
	X, Y       []float64
	FitX, FitY []float64
	Mark       float64
}

const (
	maxItems      = 4096
	maxItemPoints = 200
)

type explorerView struct {
	ID, Title, Choose string
	Names             []string
	Data              any // what the script reads
}

// explorerData is what the script draws points from.
type explorerData struct {
	XLabel    string     `json:"xLabel"`
	YLabel    string     `json:"yLabel"`
	MarkLabel string     `json:"markLabel"`
	Items     []itemData `json:"items"`
}

type itemData struct {
	Note string    `json:"note"`
	X    []float64 `json:"x"`
	Y    []float64 `json:"y"`
	FitX []float64 `json:"fitX"`
	FitY []float64 `json:"fitY"`
	Mark float64   `json:"mark"`
}

func (e *Explorer) view(id string) (*explorerView, error) {
	if err := checkTitle(e.Title, len(e.Items)); err != nil {
		return nil, err
	}
	if len(e.Items) > maxItems {
		return nil, fmt.Errorf("chart %q: has %d items, at most %d", e.Title, len(e.Items), maxItems)
	}
	v := &explorerView{ID: id, Title: e.Title, Choose: e.Choose}
	data := explorerData{XLabel: e.XLabel, YLabel: e.YLabel, MarkLabel: e.MarkLabel}
	for _, item := range e.Items {
		what := fmt.Sprintf("chart %q: item %q", e.Title, item.Name)
		if err := item.check(what); err != nil {
			return nil, err
		}
		v.Names = append(v.Names, plain(item.Name))
		data.Items = append(data.Items, itemData{
			Note: item.Note, X: short4(item.X), Y: short4(item.Y), FitX: short4(item.FitX), FitY: short4(item.FitY), Mark: item.Mark,
		})
	}
	v.Data = data
	return v, nil
}

func (i Item) check(what string) error {
	if len(i.X) != len(i.Y) || len(i.FitX) != len(i.FitY) {
		return fmt.Errorf("%s: has x and y values of different number", what)
	}
	if len(i.X) > maxItemPoints || len(i.FitX) > maxItemPoints {
		return fmt.Errorf("%s: has more than %d points", what, maxItemPoints)
	}
	for axis, values := range map[string][]float64{"x": i.X, "y": i.Y, "fit x": i.FitX, "fit y": i.FitY} {
		if err := checkValues(what, axis, values, true); err != nil {
			return err
		}
	}
	if i.Mark != 0 {
		return checkValues(what, "mark", []float64{i.Mark}, true)
	}
	return nil
}

// short4 rounds to four digits, which is more than a pixel shows.
func short4(values []float64) []float64 {
	out := make([]float64, len(values)) // never nil: the script reads a list
	for i, v := range values {
		_, _ = fmt.Sscan(fmt.Sprintf("%.4g", v), &out[i]) // a number that was just printed
	}
	return out
}
