package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/alphalora"
	"alphalora/internal/fault"
	"alphalora/internal/testkit"
	"alphalora/model"
	"alphalora/model/weights"
)

// spectralDir writes a model of so many layers of small random matrices, each tensor
// changed by change (nil: none), whose formats go round.
func spectralDir(t *testing.T, layers int, change func(x *weights.Tensor)) string {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 5))
	var list []weights.Tensor
	for layer := range layers {
		for i, site := range model.Sites() {
			values := make([]float32, 12*20)
			for k := range values {
				values[k] = float32(rng.NormFloat64() * math.Exp(rng.NormFloat64()))
			}
			format := []weights.DType{weights.BF16, weights.F32, weights.F16}[i%3]
			x, err := weights.FromFloat32s(site.WeightName(layer), []int{12, 20}, values, format)
			require.NoError(t, err)
			if change != nil {
				change(&x)
			}
			list = append(list, x)
		}
	}
	dir := t.TempDir()
	require.NoError(t, weights.Write(filepath.Join(dir, "model.safetensors"), list, nil))
	return dir
}

func analysedBy(t *testing.T, args ...string) *alphalora.Analysis {
	t.Helper()
	out, err := called(t, analyzeCommand, append(args, "--json", "-")...)
	require.NoError(t, err, args)
	analysis, err := alphalora.ParseAnalysis([]byte(out))
	require.NoError(t, err)
	return analysis
}

// The reference numbers through the command line: hill by default and in double precision,
// the others each against its own column, and the allocations that follow.
func TestAnalyzeReferenceNumbers(t *testing.T) {
	dir := testkit.Shared(t, "reference", "spectral")
	data, err := os.ReadFile(filepath.Join(dir, "spectral_reference.json"))
	require.NoError(t, err)
	var ref struct {
		Matrices    map[string]map[string]any
		Layers      map[string]map[string]float64
		Allocations []struct {
			Metric  string
			Total   int
			Beta    float64
			Experts []int
		}
	}
	require.NoError(t, json.Unmarshal(data, &ref))
	allocations := 0
	for _, c := range []struct {
		column, estimator, precision string
		tolerance                    float64
	}{
		{"pl_alpha_hill", "hill", "f32", 1e-3}, {"pl_alpha_hill", "hill", "f64", 1e-6},
		{"pl_alpha_peak_released", "released-peak", "f64", 2e-6}, {"pl_alpha_ks", "ks", "f32", 1e-6},
	} {
		spectrum := filepath.Join(t.TempDir(), "spectrum.json")
		_, err := called(t, analyzeCommand, dir, "--estimator", c.estimator, "--precision", c.precision, "--json", spectrum)
		require.NoError(t, err)
		analysis, err := alphalora.ReadAnalysis(spectrum)
		require.NoError(t, err)
		require.Len(t, analysis.Matrices, 42)
		for _, m := range analysis.Matrices {
			require.InEpsilon(t, ref.Matrices[m.Name][c.column], float64(m.Metrics["alpha"]), c.tolerance, m.Name)
		}
		for _, l := range analysis.Layers {
			require.InEpsilon(t, ref.Layers[fmt.Sprint(l.Layer)][c.column], float64(l.Metrics["alpha"]), c.tolerance)
		}
		for _, want := range ref.Allocations {
			if want.Metric == c.column {
				a := allocatedBy(t, dir, "--spectrum", spectrum, "--experts", fmt.Sprint(want.Total), "--beta", fmt.Sprint(want.Beta), "--rounding", "released")
				require.Equal(t, want.Experts, a.Experts)
				allocations++
			}
		}
	}
	require.GreaterOrEqual(t, allocations, len(ref.Allocations))
}

// Tensors of several formats are one model, whatever solves it; and what the program says
// names the solver.
func TestAnalyzeMixedFormatsBySolver(t *testing.T) {
	dir := spectralDir(t, 2, nil)
	want := analysedBy(t, dir, "--precision", "f64", "--cache", "none")
	require.Contains(t, want.Solver, "two-stage")
	for _, how := range [][]string{{"--solver", "gonum"}, {"--products", "engine"}, {"--products", "cores", "--precision", "f32"}} {
		got := analysedBy(t, append([]string{dir, "--cache", "none"}, how...)...)
		require.Equal(t, want.Fingerprint, got.Fingerprint)
		for i, m := range got.Matrices {
			require.InEpsilon(t, float64(want.Matrices[i].Metrics["alpha"]), float64(m.Metrics["alpha"]), 1e-4, how)
		}
	}
	require.Contains(t, analysedBy(t, dir, "--cache", "none", "--solver", "gonum").Solver, "gonum")
}

// The second run finds everything in the cache, a damaged entry is told and mended, and
// none keeps nothing.
func TestAnalyzeCache(t *testing.T) {
	dir, cache := spectralDir(t, 1, nil), filepath.Join(t.TempDir(), "cache")
	first := analysedBy(t, dir, "--cache", cache)
	files, err := filepath.Glob(filepath.Join(cache, "*"))
	require.NoError(t, err)
	require.Len(t, files, 7)
	require.NoError(t, os.Truncate(files[3], 10))
	_, stderr, status := call(t, "analyze", dir, "--cache", cache)
	require.Zero(t, status)
	require.Contains(t, stderr, "computed again")
	require.Equal(t, jsonOf(t, first), jsonOf(t, analysedBy(t, dir, "--cache", cache)))

	none := filepath.Join(t.TempDir(), "user")
	t.Setenv("XDG_CACHE_HOME", none)
	analysedBy(t, dir, "--cache", "none")
	require.NoDirExists(t, none)
	analysedBy(t, dir)
	require.DirExists(t, filepath.Join(none, "alphalora", "spectra"))
}

func jsonOf(t *testing.T, v any) string {
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return string(data)
}

// Two models in one page, one list and one table; each chart as two files.
func TestAnalyzeSeveralModels(t *testing.T) {
	one, two := spectralDir(t, 5, nil), spectralDir(t, 2, func(x *weights.Tensor) {
		if x.Name == model.K.WeightName(1) {
			clear(x.Data)
		}
	})
	out := t.TempDir()
	page, table, charts := filepath.Join(out, "r.html"), filepath.Join(out, "r.csv"), filepath.Join(out, "charts")
	stdout, err := called(t, analyzeCommand, one, two, "--json", "-", "--html", page, "--csv", table, "--charts", charts)
	require.NoError(t, err)
	var list []*alphalora.Analysis
	require.NoError(t, json.Unmarshal([]byte(stdout), &list))
	require.Len(t, list, 2)
	require.Contains(t, list[1].Warnings()[0], "k_proj.weight: no alpha, left out of the layer's mean: a zero matrix")

	html, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, part := range []string{"Alpha of each layer", "mola-2468", `class="explorer"`, `class="sortable"`, "a zero matrix has no tail", model.Down.WeightName(4)} {
		require.Contains(t, string(html), part)
	}
	require.NotRegexp(t, `(src|href)="?http`, string(html))
	lines, err := os.ReadFile(table)
	require.NoError(t, err)
	require.Len(t, strings.Split(strings.TrimSpace(string(lines)), "\n"), 1+7*7)
	for _, name := range []string{"alpha.svg", "alpha.png", "experts-" + filepath.Base(one) + ".png"} {
		require.FileExists(t, filepath.Join(charts, name))
	}
	densities, err := filepath.Glob(filepath.Join(charts, "*density*.svg"))
	require.NoError(t, err)
	require.Len(t, densities, 7*7-1, "a zero matrix has no density")
}

// A spectrum of other weights is refused; one without a fingerprint is told.
func TestSpectrumOfAnotherModel(t *testing.T) {
	dir := spectralDir(t, 2, nil)
	other := spectralDir(t, 2, func(x *weights.Tensor) { x.Data[1] ^= 1 })
	spectrum := filepath.Join(t.TempDir(), "spectrum.json")
	_, err := called(t, analyzeCommand, dir, "--json", spectrum)
	require.NoError(t, err)
	require.NotEmpty(t, allocatedBy(t, dir, "--spectrum", spectrum, "--experts", "6").Experts)
	_, err = called(t, allocateCommand, other, "--spectrum", spectrum, "--experts", "6")
	require.ErrorContains(t, err, "other weights")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))

	edit(t, spectrum, func(data []byte) []byte {
		return []byte(strings.Replace(string(data), "fingerprint", "another_key", 1))
	})
	_, stderr, status := call(t, "allocate", other, "--spectrum", spectrum, "--experts", "6")
	require.Zero(t, status)
	require.Contains(t, stderr, "no fingerprint")
}

func TestAnalyzeRefuses(t *testing.T) {
	nan := func(x *weights.Tensor) {
		if x.Name == model.Up.WeightName(1) {
			binary.LittleEndian.PutUint16(x.Data[2*25:], 0x7fc0)
		}
	}
	whole := spectralDir(t, 1, func(x *weights.Tensor) {
		if x.Name == model.V.WeightName(0) {
			x.DType = "I16"
		}
	})
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	good := spectralDir(t, 1, nil)
	for reason, args := range map[string][]string{
		"up_proj.weight: weights: value 5 of row 1 is not finite": {spectralDir(t, 2, bf16Only(nan))},
		"dtype I16":         {whole},
		"unknown estimator": {good, "--estimator", "luck"},
		"f32 or f64":        {good, "--precision", "f16"},
		"--products":        {good, "--products", "moon"},
		"--solver":          {good, "--solver", "luck"},
		"cannot be made":    {good, "--cache", filepath.Join(file, "x")},
		"--charts":          {good, "--charts", filepath.Join(file, "x")},
		"--json":            {good, "--json", filepath.Join(file, "x")},
		"unknown strategy":  {good, "--strategies", "luck"},
		"no number":         {good, "--strategies", "uniform,mola-2x"},
		"one model only":    {good, "--strategies", "manual"},
		"--experts -1":      {good, "--experts", "-1"},
		"cannot be written": {good, "--html", filepath.Join(file, "x")},
		"holds neither":     {t.TempDir()},
	} {
		_, err := called(t, analyzeCommand, args...)
		require.ErrorContains(t, err, reason)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err), reason)
	}
}

// The strategies and the total of the page's comparison are the reader's; what one of them cannot
// do, and what has no alpha, is said.
func TestAnalyzePageCompares(t *testing.T) {
	page := func(dir string, args ...string) string {
		path := filepath.Join(t.TempDir(), "r.html")
		_, err := called(t, analyzeCommand, append([]string{dir, "--html", path}, args...)...)
		require.NoError(t, err)
		html, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(html)
	}
	bars := page(spectralDir(t, 3, nil), "--strategies", "uniform,mola-5,mola-2468", "--experts", "12")
	for _, part := range []string{"12 experts shared out", "Not mola-2468", "4 groups for 3 layers", "Bar chart of experts"} {
		require.Contains(t, bars, part)
	}
	require.NotContains(t, bars, "mola-8642")
	lines := page(spectralDir(t, maxBarLayers+1, nil))
	require.Contains(t, lines, "Series: uniform; mola-8642; mola-2468; alphalora")
	require.NotContains(t, lines, "Warnings")

	none := page(spectralDir(t, 2, func(x *weights.Tensor) { clear(x.Data) }))
	for _, part := range []string{"No layer has an alpha", "no alpha</dd>", "Warnings", "Nothing is shared out by alpha"} {
		require.Contains(t, none, part)
	}
}

func TestAnalyzeLooksAtAllModelsFirst(t *testing.T) {
	_, stderr, status := call(t, "analyze", spectralDir(t, 1, nil), t.TempDir())
	require.Equal(t, fault.StatusBad, status)
	require.Contains(t, stderr, "holds neither")
	require.NotContains(t, stderr, "spectra:")
}

// A user's cache directory that cannot be made costs time, not the result.
func TestAnalyzeWithoutACacheDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	t.Setenv("XDG_CACHE_HOME", file)
	_, stderr, status := call(t, "analyze", spectralDir(t, 1, nil))
	require.Zero(t, status)
	require.Contains(t, stderr, "eigenvalues are not kept")
}

// bf16Only makes every tensor bfloat16 before change.
func bf16Only(change func(x *weights.Tensor)) func(x *weights.Tensor) {
	return func(x *weights.Tensor) {
		values, err := x.Float32s()
		if err == nil {
			*x, err = weights.FromFloat32s(x.Name, x.Shape, values, weights.BF16)
		}
		if err != nil {
			panic(err)
		}
		change(x)
	}
}

func TestBenchAnalyze(t *testing.T) {
	out, err := called(t, benchCommand, "analyze", "--shape", "tiny", "--layers", "2", "--json", "-")
	require.NoError(t, err)
	var b spectralBench
	require.NoError(t, json.Unmarshal([]byte(out), &b))
	require.Equal(t, 14, b.Matrices)
	require.Greater(t, b.Seconds, 0.0)
	require.InEpsilon(t, 2*b.Seconds, b.WholeModel, 1e-9)
	require.Greater(t, b.Products+b.Eigenvalues, 0.0)
	require.Greater(t, b.PeakBytes, int64(1<<20))
	for _, args := range [][]string{{"--shape", "moon"}, {"--layers", "99"}, {"--layers", "-1"}} {
		_, err := called(t, benchCommand, append([]string{"analyze"}, args...)...)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err), args)
	}
}
