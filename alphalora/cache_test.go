package alphalora

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"alphalora/alphalora/symeig"
	"alphalora/internal/fault"
)

// counted is a solver that counts the matrices it solved.
func counted(solved *int) Solver {
	s := TwoStage()
	inner := s.solve
	s.solve = func(m symeig.Matrix, scale float64, p Precision, phases *Phases) ([]float64, error) {
		*solved++
		return inner(m, scale, p, phases)
	}
	return s
}

func cached(t *testing.T) (c *Cache, warnings *[]string) {
	c, err := OpenCache(filepath.Join(t.TempDir(), "new", "cache"))
	require.NoError(t, err)
	warnings = new([]string)
	c.Warn = func(m string) { *warnings = append(*warnings, m) }
	return c, warnings
}

func TestCacheSparesTheSecondRunAndTheSecondEstimator(t *testing.T) {
	cache, warnings := cached(t)
	solved := 0
	opts := Options{Estimator: Estimators()[0], Solver: counted(&solved), Precision: Double, Cache: cache, Workers: 1}
	first, err := Analyze(context.Background(), "m", smallModel(3, "layer.1.site.0"), opts)
	require.NoError(t, err)
	require.Equal(t, 5, solved, "a zero matrix needs no solver")
	again, err := Analyze(context.Background(), "m", smallModel(3, "layer.1.site.0"), opts)
	require.NoError(t, err)
	require.Equal(t, marshalled(t, first), marshalled(t, again))
	for _, e := range Estimators()[1:4] {
		opts.Estimator = e
		_, err = Analyze(context.Background(), "m", smallModel(3, "layer.1.site.0"), opts)
		require.NoError(t, err)
	}
	require.Equal(t, 5, solved)
	require.Equal(t, 6, opts.fromCache(t, "m", smallModel(3, "layer.1.site.0")))
	opts.Precision, opts.Estimator = Single, Estimators()[0]
	_, err = Analyze(context.Background(), "m", smallModel(3), opts)
	require.NoError(t, err)
	require.Equal(t, 6, solved, "double precision serves single too; one matrix is another one")
	require.Empty(t, *warnings)
}

// marshalled is v as JSON, where no value equals no value.
func marshalled(t *testing.T, v any) string {
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return string(data)
}

// fromCache is how many spectra of an analysis came from the cache.
func (o Options) fromCache(t *testing.T, model string, matrices []Matrix) int {
	o.Phases = &Phases{}
	_, err := Analyze(context.Background(), model, matrices, o)
	require.NoError(t, err)
	return o.Phases.Cached
}

// An interrupted run leaves what it solved.
func TestCacheGoesOnAfterAnInterrupt(t *testing.T) {
	cache, _ := cached(t)
	solved := 0
	ctx, cancel := context.WithCancel(context.Background())
	opts := Options{Estimator: Estimators()[0], Solver: counted(&solved), Precision: Double, Cache: cache, Workers: 1}
	opts.Progress = func(p Progress) {
		if p.Done == 4 {
			cancel()
		}
	}
	_, err := Analyze(ctx, "m", smallModel(5), opts)
	require.ErrorIs(t, err, context.Canceled)
	before := solved
	require.Less(t, before, 10)
	opts.Progress = func(p Progress) { // assert, as require would end a worker's goroutine
		assert.Equal(t, p.Done > before && p.Done < 10, p.Left > 0, "what was in the cache says nothing about the speed")
	}
	whole, err := Analyze(context.Background(), "m", smallModel(5), opts)
	require.NoError(t, err)
	require.Equal(t, 10, solved, "nothing is solved twice")
	opts.Cache, opts.Progress = nil, nil
	fresh, err := Analyze(context.Background(), "m", smallModel(5), opts)
	require.NoError(t, err)
	require.Equal(t, fresh, whole)
}

func TestCacheFindsDamage(t *testing.T) {
	cache, warnings := cached(t)
	solved := 0
	opts := Options{Estimator: Estimators()[0], Solver: counted(&solved), Precision: Double, Cache: cache}
	want, err := Analyze(context.Background(), "m", smallModel(1), opts)
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(cache.dir, "*.spectrum"))
	require.NoError(t, err)
	require.Len(t, files, 2)
	for name, damage := range map[string]func(data []byte) []byte{
		"a bit":     func(data []byte) []byte { data[20] ^= 1; return data },
		"truncated": func(data []byte) []byte { return data[:len(data)-3] },
		"longer":    func(data []byte) []byte { return append(data, data...) },
		"empty":     func([]byte) []byte { return nil },
		"count":     func(data []byte) []byte { data[15] = 0x7f; return data },
		"text":      func([]byte) []byte { return []byte(strings.Repeat("no spectrum", 20)) },
		"negative":  func([]byte) []byte { return encodeSpectrum([]float64{-1, 2, 3, 4, 5, 6, 7, 8}) },
		"unsorted":  func([]byte) []byte { return encodeSpectrum([]float64{2, 1, 3, 4, 5, 6, 7, 8}) },
	} {
		*warnings = nil
		for _, file := range files {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(file, damage(data), 0o600))
		}
		got, err := Analyze(context.Background(), "m", smallModel(1), opts)
		require.NoError(t, err)
		require.Equal(t, want, got, name)
		require.Len(t, *warnings, 2, name)
		require.Contains(t, (*warnings)[0], ".spectrum", name)
		require.Contains(t, (*warnings)[0], "computed again", name)
	}
}

func TestCacheThatCannotBeWritten(t *testing.T) {
	cache, warnings := cached(t)
	require.NoError(t, os.RemoveAll(cache.dir))
	_, err := Analyze(context.Background(), "m", smallModel(1), Options{Estimator: Estimators()[0], Solver: TwoStage(), Precision: Double, Cache: cache})
	require.NoError(t, err)
	require.Len(t, *warnings, 1)
	require.Contains(t, (*warnings)[0], "not kept")

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = OpenCache(filepath.Join(file, "x"))
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
}

// What can be decoded is an ascending spectrum, and encodes to the same bytes.
func FuzzDecodeSpectrum(f *testing.F) {
	f.Add(encodeSpectrum([]float64{0, 1, 2.5}), 3)
	f.Add(encodeSpectrum(nil), 0)
	f.Add([]byte("alphaSP1"), 1<<40)
	f.Fuzz(func(t *testing.T, data []byte, count int) {
		if count < 0 || count > 1<<50 {
			return
		}
		if lambda, err := decodeSpectrum(data, count); err == nil {
			require.Equal(t, data, encodeSpectrum(lambda))
		}
	})
}

func TestFingerprint(t *testing.T) {
	opts := Options{Estimator: Estimators()[0], Solver: TwoStage(), Precision: Double}
	a, err := Analyze(context.Background(), "m", smallModel(2), opts)
	require.NoError(t, err)
	check := func(matrices []Matrix) (bool, error) { return a.CheckModel(context.Background(), "n", matrices) }
	known, err := check(smallModel(2))
	require.NoError(t, err)
	require.True(t, known)

	other := smallModel(2)
	inner := other[1].Bytes
	other[1].Bytes = func() ([]byte, error) { data, err := inner(); data[3] ^= 1; return data, err }
	transposed := smallModel(2)
	transposed[0].Rows, transposed[0].Cols = transposed[0].Cols, transposed[0].Rows
	for name, matrices := range map[string][]Matrix{"a bit": other, "a layer less": smallModel(1), "shape": transposed, "zero": smallModel(2, "layer.0.site.0")} {
		_, err = check(matrices)
		require.ErrorContains(t, err, "other weights", name)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	}
	torn := smallModel(2)
	torn[0].Bytes = func() ([]byte, error) { return nil, errors.New("torn page") }
	_, err = check(torn)
	require.ErrorContains(t, err, "torn page")
	a.Fingerprint = ""
	known, err = check(other)
	require.NoError(t, err)
	require.False(t, known)
}
