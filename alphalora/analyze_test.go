package alphalora

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"alphalora/internal/fault"

	"github.com/stretchr/testify/require"
)

// smallModel has layers of two matrices; those in zero are zero.
func smallModel(layers int, zero ...string) []Matrix {
	var out []Matrix
	for layer := range layers {
		for site, shape := range [][2]int{{16, 12}, {8, 12}} {
			name := fmt.Sprintf("layer.%d.site.%d", layer, site)
			m := Matrix{Name: name, Layer: layer, Site: fmt.Sprint("site", site), Rows: shape[0], Cols: shape[1], DType: "F32"}
			w := heavyTailed(m.Rows, m.Cols, uint64(layer*2+site))
			for _, z := range zero {
				if z == name {
					clear(w)
				}
			}
			m.Bytes = func() ([]byte, error) { return matrixOf(w, m.Rows, m.Cols).Data, nil }
			out = append(out, m)
		}
	}
	return out
}

func TestAnalyzeIsTheSameForAnyWorkers(t *testing.T) {
	var first *Analysis
	for _, workers := range []int{1, 2, 9} {
		calls := 0
		opts := Options{Estimator: Estimators()[0], Solver: TwoStage(), Precision: Double, Workers: workers, Progress: func(p Progress) {
			calls++
			require.Equal(t, calls, p.Done)
			require.Equal(t, 6, p.Total)
			require.NotEmpty(t, p.Name)
			require.Equal(t, calls == 6, p.Left == 0)
		}}
		a, err := Analyze(context.Background(), "m", smallModel(3), opts)
		require.NoError(t, err)
		require.Equal(t, 6, calls)
		if first == nil {
			first = a
		}
		require.Equal(t, first, a)
	}
}

func TestWorkersAreBoundedByMemory(t *testing.T) {
	big := []Matrix{{Rows: 4096, Cols: 14336}, {Rows: 4096, Cols: 14336}}
	require.Equal(t, 1, WorkerCount(big, Options{Solver: TwoStage(), Memory: 1 << 28}))
	require.Equal(t, 1, WorkerCount(big, Options{Solver: TwoStage(), Memory: 1}))
	require.Equal(t, 1, WorkerCount(big, Options{Solver: TwoStage(), Workers: 1, Memory: 1 << 40}))
}

func TestLayerMeanLeavesOutWhatHasNoValue(t *testing.T) {
	opts := Options{Estimator: Estimators()[0], Solver: TwoStage(), Precision: Double}
	whole, err := Analyze(context.Background(), "m", smallModel(2), opts)
	require.NoError(t, err)
	require.Empty(t, whole.Warnings())
	sum := whole.Matrices[0].Metrics["alpha"] + whole.Matrices[1].Metrics["alpha"]
	require.InDelta(t, float64(sum)/2, float64(whole.Layers[0].Metrics["alpha"]), 1e-12)

	part, err := Analyze(context.Background(), "m", smallModel(2, "layer.0.site.0"), opts)
	require.NoError(t, err)
	require.Len(t, part.Warnings(), 1)
	require.Contains(t, part.Warnings()[0], "layer.0.site.0: no alpha, left out of the layer's mean: a zero matrix")
	require.False(t, part.Matrices[0].Metrics["alpha"].Known())
	require.False(t, part.Matrices[0].Metrics["stable_rank"].Known())
	require.Equal(t, Value(0), part.Matrices[0].Metrics["spectral_norm"])
	require.Equal(t, whole.Matrices[1].Metrics["alpha"], part.Layers[0].Metrics["alpha"])
	_, err = part.LayerValues("alpha")
	require.NoError(t, err)

	none, err := Analyze(context.Background(), "m", smallModel(2, "layer.1.site.0", "layer.1.site.1"), opts)
	require.NoError(t, err)
	_, err = none.LayerValues("alpha")
	require.ErrorContains(t, err, "layer 1")
	_, err = none.LayerValues("beauty")
	require.ErrorContains(t, err, "stable_rank")
}

func TestAnalyzeStops(t *testing.T) {
	opts := Options{Estimator: Estimators()[0], Solver: TwoStage(), Precision: Double, Workers: 1}
	ctx, cancel := context.WithCancel(context.Background())
	opts.Progress = func(p Progress) {
		require.LessOrEqual(t, p.Done, 3)
		cancel()
	}
	_, err := Analyze(ctx, "m", smallModel(50), opts)
	require.ErrorIs(t, err, context.Canceled)

	opts.Progress = nil
	broken := smallModel(3)
	broken[2].Bytes = func() ([]byte, error) { return nil, errors.New("torn page") }
	_, err = Analyze(context.Background(), "m", broken, opts)
	require.ErrorContains(t, err, "torn page")

	short := smallModel(1)
	short[1].Rows = 9
	_, err = Analyze(context.Background(), "m", short, opts)
	require.ErrorContains(t, err, "m: layer.0.site.1")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))

	_, err = Analyze(context.Background(), "m", nil, opts)
	require.ErrorContains(t, err, "no matrix")
}

func TestAnalysisRoundTrip(t *testing.T) {
	a, err := Analyze(context.Background(), "m", smallModel(2, "layer.1.site.1"), Options{Estimator: Estimators()[0], Solver: TwoStage(), Precision: Double})
	require.NoError(t, err)
	data, err := json.Marshal(a)
	require.NoError(t, err)
	var loose map[string]any
	require.NoError(t, json.Unmarshal(data, &loose))
	require.Nil(t, loose["matrices"].([]any)[3].(map[string]any)["alpha"], "null, not a number")
	require.Contains(t, loose["layers"].([]any)[0], "stable_rank")

	path := filepath.Join(t.TempDir(), "spectrum.json")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	back, err := ReadAnalysis(path)
	require.NoError(t, err)
	again, err := json.Marshal(back)
	require.NoError(t, err)
	require.JSONEq(t, string(data), string(again))

	var table bytes.Buffer
	require.NoError(t, WriteCSV(&table, a))
	lines, err := csv.NewReader(&table).ReadAll()
	require.NoError(t, err)
	require.Len(t, lines, 5)
	alpha, warning := slices.Index(lines[0], "alpha"), slices.Index(lines[0], "warning")
	require.NotEmpty(t, lines[3][alpha])
	require.Empty(t, lines[3][warning])
	require.Empty(t, lines[4][alpha])
	require.NotEmpty(t, lines[4][warning])
}

func TestReadAnalysisRefuses(t *testing.T) {
	for text, reason := range map[string]string{
		``:                                     "not a spectrum file",
		` [{"layers":[]}]`:                     "several models",
		`{"model":"m"}`:                        "no layers",
		`{"layers":[{"layer":1},{"layer":0}]}`: "ascending",
		`{"layers":[{"layer":0,"alpha":"3"}]}`: "alpha",
		`{"layers":[{"layer":0}],"matrices":[{}]}`: "0×0",
	} {
		path := filepath.Join(t.TempDir(), "spectrum.json")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := ReadAnalysis(path)
		require.ErrorContains(t, err, reason, text)
		require.ErrorContains(t, err, path)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	}
	_, err := ReadAnalysis(filepath.Join(t.TempDir(), "absent"))
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
}

func TestLayerValuesNeedEveryLayer(t *testing.T) {
	for text, reason := range map[string]string{
		`{"layers":[{"layer":1,"alpha":3}]}`:                       "layer 0 is missing",
		`{"layers":[{"layer":0,"alpha":3},{"layer":1}]}`:           "layer 1",
		`{"layers":[{"layer":0,"alpha":3},{"layer":1,"alpha":0}]}`: "above 0",
	} {
		a, err := ParseAnalysis([]byte(text))
		require.NoError(t, err)
		_, err = a.LayerValues("alpha")
		require.ErrorContains(t, err, reason)
	}
}

// Whatever is read can be written, and is the same when read again.
func FuzzParseAnalysis(f *testing.F) {
	f.Add([]byte(`{"model":"m","estimator":"hill","matrices":[{"name":"a","layer":0,"site":"q_proj","rows":4,"cols":4,"alpha":3.2,"ks_distance":null}],"layers":[{"layer":0,"alpha":3.2}]}`))
	f.Add([]byte(`{"layers":[{"layer":-1}]}`))
	f.Add([]byte(`{"layers":[{"alpha":1e999}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ParseAnalysis(data)
		if err != nil {
			return
		}
		for _, metric := range Metrics() {
			if values, err := a.LayerValues(metric.Name); err == nil {
				require.Len(t, values, len(a.Layers))
			}
		}
		out, err := json.Marshal(a)
		require.NoError(t, err)
		b, err := ParseAnalysis(out)
		require.NoError(t, err)
		again, err := json.Marshal(b)
		require.NoError(t, err)
		require.Equal(t, string(out), string(again))
	})
}
