package report

import "fmt"

// MatrixExplorer shows one of many square matrices of shares, which the reader chooses in
// the page; a script of the page draws it, in percent.
type MatrixExplorer struct {
	Title, Choose string // Choose is the label of the choice, such as "Projection"
	RowName, Unit string // what a row and a column are, such as "expert"; what a cell is
	Items         []Matrix
}

// Matrix is one matrix to look at, with a line of text.
type Matrix struct {
	Name, Note string
	Values     [][]float64 // [n][n], 0 or more
}

// maxMatrixCells bounds the cells of all matrices, which are all in the page.
const maxMatrixCells = 1 << 19

// matricesData is what the script draws matrices from.
type matricesData struct {
	RowName string       `json:"rowName"`
	Unit    string       `json:"unit"`
	Items   []matrixData `json:"items"`
}

type matrixData struct {
	Note   string      `json:"note"`
	Values [][]float64 `json:"values"`
}

func (e *MatrixExplorer) view(id string) (*explorerView, error) {
	if err := checkTitle(e.Title, len(e.Items)); err != nil {
		return nil, err
	}
	if e.Unit == "" {
		return nil, fmt.Errorf("chart %q: has no unit", e.Title)
	}
	v := &explorerView{ID: id, Title: e.Title, Choose: e.Choose}
	data := matricesData{RowName: e.RowName, Unit: e.Unit}
	cells := 0
	for _, item := range e.Items {
		d := matrixData{Note: item.Note, Values: [][]float64{}}
		for i, row := range item.Values {
			what := fmt.Sprintf("chart %q: item %q: row %d", e.Title, item.Name, i+1)
			if len(row) != len(item.Values) {
				return nil, fmt.Errorf("%s: has %d values of %d", what, len(row), len(item.Values))
			}
			if err := checkValues(what, "value", row, false); err != nil {
				return nil, err
			}
			d.Values = append(d.Values, short4(row))
		}
		cells += len(item.Values) * len(item.Values)
		v.Names, data.Items = append(v.Names, plain(item.Name)), append(data.Items, d)
	}
	if len(e.Items) > maxItems || cells > maxMatrixCells {
		return nil, fmt.Errorf("chart %q: has %d items of %d cells, at most %d of %d", e.Title, len(e.Items), cells, maxItems, maxMatrixCells)
	}
	v.Data = data
	return v, nil
}
