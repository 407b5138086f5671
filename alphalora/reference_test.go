package alphalora

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"alphalora/internal/testkit"

	"github.com/stretchr/testify/require"
)

type referenceMatrix struct {
	Shape        [2]int
	Hill         float64 `json:"pl_alpha_hill"`
	PeakReleased float64 `json:"pl_alpha_peak_released"`
	Peak64       float64 `json:"pl_alpha_peak_fp64"`
	KS           float64 `json:"pl_alpha_ks"`
	KSD          float64 `json:"pl_alpha_ks_D"`
	AlphaHat     float64 `json:"alpha_hat_hill"`
	SpectralNorm float64 `json:"spectral_norm"`
	Frobenius    float64 `json:"frobenius_norm_squared"`
	StableRank   float64 `json:"stable_rank"`
	EigMedian    float64 `json:"eig_median"`
}

type reference struct {
	Matrices map[string]referenceMatrix
	Layers   map[string]struct {
		Hill         float64 `json:"pl_alpha_hill"`
		PeakReleased float64 `json:"pl_alpha_peak_released"`
		KS           float64 `json:"pl_alpha_ks"`
		StableRank   float64 `json:"stable_rank"`
		SpectralNorm float64 `json:"spectral_norm"`
		Frobenius    float64 `json:"frobenius_norm_squared"`
		AlphaHat     float64 `json:"alpha_hat_hill"`
	}
	Allocations []allocationCase
}

type allocationCase struct {
	Metric  string
	Values  []float64
	Total   int
	Beta    float64
	Experts []int
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, into))
}

// spectralModel is the reference model as matrices, and its numbers.
func spectralModel(t *testing.T) ([]Matrix, reference) {
	t.Helper()
	dir := testkit.Shared(t, "reference", "spectral")
	var ref reference
	readJSON(t, filepath.Join(dir, "spectral_reference.json"), &ref)
	tensors := map[string][]byte{}
	shards, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	require.NoError(t, err)
	for _, shard := range shards {
		readShard(t, shard, tensors)
	}
	var matrices []Matrix
	for _, name := range slices.Sorted(maps.Keys(ref.Matrices)) {
		parts := strings.Split(name, ".")
		m := Matrix{
			Name: name, Site: parts[len(parts)-2], Rows: ref.Matrices[name].Shape[0], Cols: ref.Matrices[name].Shape[1],
			DType: "BF16", Bytes: func() ([]byte, error) { return tensors[name], nil },
		}
		_, err := fmt.Sscanf(parts[2], "%d", &m.Layer)
		require.NoError(t, err)
		matrices = append(matrices, m)
	}
	require.Len(t, matrices, 42)
	return matrices, ref
}

// readShard reads a trusted file of bfloat16 tensors.
func readShard(t *testing.T, path string, into map[string][]byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	header := data[8 : 8+binary.LittleEndian.Uint64(data)]
	body := data[8+len(header):]
	var entries map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(header, &entries))
	delete(entries, "__metadata__")
	for name, raw := range entries {
		var entry struct {
			DType   string    `json:"dtype"`
			Offsets [2]uint64 `json:"data_offsets"`
		}
		require.NoError(t, json.Unmarshal(raw, &entry))
		require.Equal(t, "BF16", entry.DType)
		into[name] = body[entry.Offsets[0]:entry.Offsets[1]]
	}
}

func near(t *testing.T, want, got, relative float64, what ...any) {
	t.Helper()
	require.InDelta(t, want, got, relative*math.Abs(want), what...)
}

// Every column of the reference numbers, matrix by matrix and layer by layer. The
// reference has two columns for the released peak estimator (its float32 and its
// float64), and none for peak as it should be.
func TestReferenceNumbers(t *testing.T) {
	matrices, ref := spectralModel(t)
	columns := []struct {
		estimator string
		tolerance float64 // the reference holds all but hill in float32
		column    func(r referenceMatrix) float64
	}{
		{"hill", 1e-6, func(r referenceMatrix) float64 { return r.Hill }},
		{"released-peak", 2e-6, func(r referenceMatrix) float64 { return r.PeakReleased }},
		{"released-peak", 1e-6, func(r referenceMatrix) float64 { return r.Peak64 }},
		{"ks", 1e-6, func(r referenceMatrix) float64 { return r.KS }},
	}
	for _, c := range columns {
		a := analyzed(t, matrices, c.estimator, Double)
		for _, m := range a.Matrices {
			near(t, c.column(ref.Matrices[m.Name]), float64(m.Metrics["alpha"]), c.tolerance, m.Name)
			require.Empty(t, m.Warning)
		}
		for _, layer := range a.Layers {
			want := ref.Layers[fmt.Sprint(layer.Layer)]
			byName := map[string]float64{"hill": want.Hill, "released-peak": want.PeakReleased, "ks": want.KS}
			near(t, byName[c.estimator], float64(layer.Metrics["alpha"]), c.tolerance)
		}
		require.Len(t, a.Layers, 6)
	}
}

func TestReferenceMetrics(t *testing.T) {
	matrices, ref := spectralModel(t)
	hill := analyzed(t, matrices, "hill", Double)
	for _, m := range hill.Matrices {
		want := ref.Matrices[m.Name]
		near(t, want.SpectralNorm, float64(m.Metrics["spectral_norm"]), 1e-9, m.Name)
		near(t, want.Frobenius, float64(m.Metrics["frobenius_norm_squared"]), 1e-9, m.Name)
		near(t, want.StableRank, float64(m.Metrics["stable_rank"]), 1e-9, m.Name)
		near(t, want.AlphaHat, float64(m.Metrics["alpha_hat"]), 1e-6, m.Name)
		near(t, want.EigMedian, float64(m.XMin), 1e-9, m.Name)
	}
	for _, m := range analyzed(t, matrices, "ks", Double).Matrices {
		near(t, ref.Matrices[m.Name].KSD, float64(m.KSDistance), 1e-5, m.Name)
	}
	for i, layer := range hill.Layers {
		want := ref.Layers[fmt.Sprint(i)]
		near(t, want.StableRank, float64(layer.Metrics["stable_rank"]), 1e-6)
		near(t, want.SpectralNorm, float64(layer.Metrics["spectral_norm"]), 1e-6)
		near(t, want.Frobenius, float64(layer.Metrics["frobenius_norm_squared"]), 1e-6)
		near(t, want.AlphaHat, float64(layer.Metrics["alpha_hat"]), 1e-6)
	}
}

// The slip of the released estimator shows where a tail from below the peak fits
// better: in 4 of the reference model's 42 matrices.
func TestPeakDiffersFromReleasedOnlyBelowThePeak(t *testing.T) {
	matrices, _ := spectralModel(t)
	right, released := analyzed(t, matrices, "peak", Double), analyzed(t, matrices, "released-peak", Double)
	differ := 0
	for i, m := range right.Matrices {
		if m.XMin != released.Matrices[i].XMin {
			differ++
			require.Less(t, released.Matrices[i].XMin, m.XMin, m.Name)
			require.Less(t, released.Matrices[i].KSDistance, m.KSDistance, m.Name)
		}
	}
	require.Equal(t, 4, differ)
}

func TestSinglePrecisionIsWithinAThousandth(t *testing.T) {
	matrices, ref := spectralModel(t)
	for _, m := range analyzed(t, matrices, "hill", Single).Matrices {
		near(t, ref.Matrices[m.Name].Hill, float64(m.Metrics["alpha"]), 1e-4, m.Name)
	}
}

func TestReferenceAllocations(t *testing.T) {
	_, ref := spectralModel(t)
	matrices, _ := spectralModel(t)
	byMetric := map[string]string{"pl_alpha_hill": "hill", "pl_alpha_peak_released": "released-peak", "pl_alpha_ks": "ks"}
	checked := 0
	for metric, name := range byMetric {
		values, err := analyzed(t, matrices, name, Double).LayerValues("alpha")
		require.NoError(t, err)
		for _, c := range ref.Allocations {
			if c.Metric != metric {
				continue
			}
			a, err := Allocate(Request{Strategy: "alphalora", Layers: len(values), Values: values, Total: c.Total, Beta: c.Beta, Rounding: "released"})
			require.NoError(t, err)
			require.Equal(t, c.Experts, a.Experts, "%s %d %v", c.Metric, c.Total, c.Beta)
			checked++
		}
	}
	require.Equal(t, len(ref.Allocations), checked)
	t.Logf("%d allocations", checked)
}

// All 160 cases of the released rounding.
func TestReleasedRoundingCases(t *testing.T) {
	var cases []allocationCase
	readJSON(t, testkit.Shared(t, "reference", "allocation_cases.json"), &cases)
	require.Len(t, cases, 160)
	withNone := 0
	for i, c := range cases {
		a, err := Allocate(Request{Strategy: "alphalora", Layers: len(c.Values), Values: c.Values, Total: c.Total, Beta: c.Beta, Rounding: "released"})
		require.NoError(t, err)
		require.Equal(t, c.Experts, a.Experts, "case %d", i)
		if len(a.WithoutExperts) > 0 {
			withNone++
		}
	}
	require.Equal(t, 40, withNone)
}

type publishedFile struct {
	Alpha       map[string][]float64 `json:"layer_pl_alpha_hill"`
	Allocations []struct {
		Source, Model string
		Total         int
		Beta          any
		Experts       []int
	}
	Parameters struct {
		PerExpert map[string]int64            `json:"per_expert"`
		Total     map[string]map[string]int64 `json:"total"`
	} `json:"trainable_parameters"`
}

func readPublished(t *testing.T) publishedFile {
	var f publishedFile
	readJSON(t, testkit.Shared(t, "reference", "published_allocations.json"), &f)
	return f
}

func TestPublishedParameterCounts(t *testing.T) {
	file := readPublished(t)
	checked := 0
	for key, name := range map[string]string{"llama-2-7b": "llama-2-7b", "mistral-7b-v0.1": "mistral-7b"} {
		p, err := PublishedNamed(name)
		require.NoError(t, err)
		require.Equal(t, file.Alpha[key], p.Alpha)
		one := make([]int, len(p.Alpha))
		one[7] = 1
		got, err := TrainableParameters(one, p.Shapes(), 8)
		require.NoError(t, err)
		require.Equal(t, file.Parameters.PerExpert[key], got)
		for total, want := range file.Parameters.Total[key] {
			var experts int
			_, err := fmt.Sscan(total, &experts)
			require.NoError(t, err)
			a, err := Allocate(Request{Strategy: "alphalora", Layers: len(p.Alpha), Values: p.Alpha, Total: experts, Beta: 2.5})
			require.NoError(t, err)
			got, err := TrainableParameters(a.Experts, p.Shapes(), 8)
			require.NoError(t, err)
			require.Equal(t, want, got)
			checked++
		}
	}
	require.Equal(t, 6, checked)
}

// How far the published lists follow from the published values: each layer's count is
// the rounded quota of some value that reads the same to two decimals, except (a) in
// layers 0 and 16, of least and greatest value, on which the released rounding puts
// what is left, and (b) in the four places listed here, where the published count is
// one away from ours and no rounding of the value explains it: those lists must have
// been made from other values than the ones published.
func TestPublishedAllocations(t *testing.T) {
	p, err := PublishedNamed("mistral-7b")
	require.NoError(t, err)
	type place struct {
		total int
		beta  float64
		layer int
	}
	var unexplained []place
	checked := 0
	for _, c := range readPublished(t).Allocations {
		beta, ok := c.Beta.(float64)
		if !ok || c.Model != "mistral-7b-v0.1" {
			continue
		}
		var low, high float64
		for _, v := range p.Alpha {
			low, high = low+math.Pow(v-0.005, beta), high+math.Pow(v+0.005, beta)
		}
		a, err := Allocate(Request{Strategy: "alphalora", Layers: len(p.Alpha), Values: p.Alpha, Total: c.Total, Beta: beta, Rounding: "released"})
		require.NoError(t, err)
		for layer, v := range p.Alpha {
			if layer == 0 || layer == 16 {
				require.InDelta(t, c.Experts[layer], a.Experts[layer], 2)
				continue
			}
			require.InDelta(t, c.Experts[layer], a.Experts[layer], 1)
			count, total := float64(c.Experts[layer]), float64(c.Total)
			if count < math.Round(total*math.Pow(v-0.005, beta)/high) || count > math.Round(total*math.Pow(v+0.005, beta)/low) {
				unexplained = append(unexplained, place{c.Total, beta, layer})
			}
			checked++
		}
	}
	require.Equal(t, 3*30, checked)
	require.Equal(t, []place{{160, 2.5, 27}, {160, 3, 25}, {160, 3, 27}, {224, 2, 6}}, unexplained)
}

func analyzed(t *testing.T, matrices []Matrix, name string, p Precision) *Analysis {
	t.Helper()
	e, err := EstimatorNamed(name)
	require.NoError(t, err)
	a, err := Analyze(context.Background(), "reference", matrices, Options{Estimator: e, Solver: TwoStage(), Precision: p})
	require.NoError(t, err)
	return a
}
