package alphalora

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"

	"alphalora/internal/fault"
)

// Analysis is what was measured of a model.
type Analysis struct {
	Model     string    `json:"model"`
	Estimator string    `json:"estimator"`
	Precision Precision `json:"precision"` // as asked for; a matrix's own may be higher
	Solver    string    `json:"solver"`    // what computed the eigenvalues
	// Fingerprint identifies the weights that were measured, however they are sharded.
	Fingerprint string        `json:"fingerprint"`
	Matrices    []Measurement `json:"matrices"`
	Layers      []Layer       `json:"layers"` // ascending
}

// Measurement is what was measured of one matrix. In JSON its metrics stand beside
// its fields.
type Measurement struct {
	Name       string           `json:"name"`
	Layer      int              `json:"layer"`
	Site       string           `json:"site"`
	Rows       int              `json:"rows"`
	Cols       int              `json:"cols"`
	Precision  Precision        `json:"precision"`
	KSDistance Value            `json:"ks_distance"`
	XMin       Value            `json:"xmin"`
	Tail       int              `json:"tail"` // eigenvalues from xmin upwards; 0 without a fit
	Warning    string           `json:"warning"`
	Metrics    map[string]Value `json:"-"` // by name, one of each of [Metrics]
	Spectrum   Spectrum         `json:"-"` // empty where it was read from a file
}

// Layer holds the mean of each metric over a layer's matrices. In JSON they stand
// beside the layer's number.
type Layer struct {
	Layer   int              `json:"layer"`
	Metrics map[string]Value `json:"-"`
}

// layerMeans averages each metric over the matrices of a layer that have it.
func layerMeans(measured []Measurement) []Layer {
	byLayer := map[int][]Measurement{}
	for _, m := range measured {
		byLayer[m.Layer] = append(byLayer[m.Layer], m)
	}
	layers := make([]Layer, 0, len(byLayer))
	for _, number := range slices.Sorted(maps.Keys(byLayer)) {
		layer := Layer{Layer: number, Metrics: map[string]Value{}}
		for _, metric := range Metrics() {
			layer.Metrics[metric.Name] = mean(byLayer[number], metric.Name)
		}
		layers = append(layers, layer)
	}
	return layers
}

func mean(measured []Measurement, metric string) Value {
	var sum, count Value
	for _, m := range measured {
		if v := m.Metrics[metric]; v.Known() {
			sum += v
			count++
		}
	}
	return sum / count // 0/0 is none
}

// LayerValues returns the metric of every layer, by which experts are allocated. A
// layer number that is missing, or a layer without a finite and positive value, is an error.
func (a *Analysis) LayerValues(metric string) ([]float64, error) {
	if _, err := MetricNamed(metric); err != nil {
		return nil, err
	}
	values := make([]float64, len(a.Layers))
	for i, layer := range a.Layers {
		if layer.Layer != i {
			return nil, fault.Input("spectrum of "+a.Model, "analyse the whole model", "layer %d is missing", i)
		}
		v, ok := layer.Metrics[metric]
		if !ok || !v.Known() {
			return nil, fault.Input(fmt.Sprintf("spectrum of %s, layer %d", a.Model, i),
				"see the warnings of its matrices; choose another metric or strategy", "no matrix has a value of %s", metric)
		}
		values[i] = float64(v)
	}
	return values, checkValues(values)
}

// Warnings lists the matrices with a warning as "NAME: WARNING".
func (a *Analysis) Warnings() []string {
	var out []string
	for _, m := range a.Matrices {
		if m.Warning != "" {
			out = append(out, m.Name+": "+m.Warning)
		}
	}
	return out
}

// WriteCSV writes one line for each matrix of each analysis under a line of column names;
// what has no value is empty.
func WriteCSV(w io.Writer, list ...*Analysis) error {
	out := csv.NewWriter(w)
	head := []string{"name", "layer", "site", "rows", "cols", "ks_distance", "xmin", "tail", "precision"}
	for _, metric := range Metrics() {
		head = append(head, metric.Name)
	}
	if err := out.Write(append(head, "warning", "model", "estimator")); err != nil {
		return err
	}
	for _, a := range list {
		for _, m := range a.Matrices {
			if err := out.Write(m.csvLine(a)); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

func (m Measurement) csvLine(a *Analysis) []string {
	line := []string{m.Name, strconv.Itoa(m.Layer), m.Site, strconv.Itoa(m.Rows), strconv.Itoa(m.Cols),
		m.KSDistance.text(), m.XMin.text(), strconv.Itoa(m.Tail), string(m.Precision)}
	for _, metric := range Metrics() {
		line = append(line, m.Metrics[metric.Name].text())
	}
	return append(line, m.Warning, a.Model, a.Estimator)
}

func (v Value) text() string {
	if !v.Known() {
		return ""
	}
	return strconv.FormatFloat(float64(v), 'g', -1, 64)
}

// maxAnalysisFile bounds a spectrum file: 100 bytes would do for each number of a
// model with thousands of matrices.
const maxAnalysisFile = 64 << 20

// ReadAnalysis reads a file that [Analysis] was marshalled into.
func ReadAnalysis(path string) (*Analysis, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Input(path, "write one with: alphalora analyze MODEL --json FILE", "cannot be read: %v", fault.Reason(err))
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxAnalysisFile+1))
	if err != nil {
		return nil, fault.Input(path, "", "cannot be read: %v", fault.Reason(err))
	}
	if len(data) > maxAnalysisFile {
		return nil, fault.Input(path, "", "larger than %d bytes, the most that a spectrum file may have", maxAnalysisFile)
	}
	a, err := ParseAnalysis(data)
	if err != nil {
		return nil, fault.Input(path, "write it again with: alphalora analyze MODEL --json FILE", "not a spectrum file: %v", err)
	}
	return a, nil
}

// ParseAnalysis is the inverse of json.Marshal of an [Analysis].
func ParseAnalysis(data []byte) (*Analysis, error) {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")) {
		return nil, fmt.Errorf("it is a list, as of several models; one is needed")
	}
	var a Analysis
	if err := json.Unmarshal(data, &a); err != nil {
		return nil, err
	}
	if len(a.Layers) == 0 {
		return nil, fmt.Errorf("it has no layers")
	}
	if !slices.IsSortedFunc(a.Layers, func(x, y Layer) int { return cmp.Compare(x.Layer, y.Layer) }) {
		return nil, fmt.Errorf("its layers are not in ascending order")
	}
	for _, m := range a.Matrices {
		if m.Rows < 1 || m.Cols < 1 || m.Rows > math.MaxInt32 || m.Cols > math.MaxInt32 || m.Layer < 0 {
			return nil, fmt.Errorf("matrix %q: layer %d, %d×%d", m.Name, m.Layer, m.Rows, m.Cols)
		}
	}
	return &a, nil
}

// MarshalJSON writes the metrics beside the other keys.
func (m Measurement) MarshalJSON() ([]byte, error) {
	type plain Measurement
	return marshalWith(plain(m), m.Metrics)
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (m *Measurement) UnmarshalJSON(data []byte) (err error) {
	type plain Measurement
	m.Metrics, err = unmarshalWith(data, (*plain)(m))
	return err
}

// MarshalJSON writes the metrics beside the layer's number.
func (l Layer) MarshalJSON() ([]byte, error) {
	type plain Layer
	return marshalWith(plain(l), l.Metrics)
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (l *Layer) UnmarshalJSON(data []byte) (err error) {
	type plain Layer
	l.Metrics, err = unmarshalWith(data, (*plain)(l))
	return err
}

// marshalWith writes an object with the keys of v and, after them, the metrics in the
// order of their table.
func marshalWith(v any, metrics map[string]Value) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	out := bytes.NewBuffer(bytes.TrimSuffix(data, []byte("}")))
	for _, metric := range Metrics() {
		v, ok := metrics[metric.Name]
		if !ok {
			v = None()
		}
		number, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(out, ",%q:%s", metric.Name, number)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

func unmarshalWith(data []byte, v any) (map[string]Value, error) {
	if err := json.Unmarshal(data, v); err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, err
	}
	metrics := map[string]Value{}
	for _, metric := range Metrics() {
		raw, ok := all[metric.Name]
		if !ok {
			continue
		}
		var v Value
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, fmt.Errorf("%s: %w", metric.Name, err)
		}
		metrics[metric.Name] = v
	}
	return metrics, nil
}
