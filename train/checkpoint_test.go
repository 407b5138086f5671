package train

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/quant"
	"alphalora/train/data"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"
)

// trained runs a few steps of tiny with a checkpoint after each.
func trained(t *testing.T, change func(o *Options)) (dir string, err error) {
	dir = t.TempDir()
	m, a := tiny(t)
	samples := data.List{{IDs: []int32{1, 2, 3, 4, 5}}, {IDs: []int32{7, 8, 9}}, {IDs: []int32{4, 39, 6, 11}}}
	b, err := data.NewBatcher(samples, data.Plan{Batch: 3, Micro: 3})
	require.NoError(t, err)
	o := Options{Output: dir, Schedule: Schedule{Kind: "constant", Peak: 1e-3, Total: 3}, Optimizer: quick().optimizer, Seed: 4,
		Checkpoints: Checkpoints{Dir: filepath.Join(dir, "checkpoints"), Every: 1, Keep: 3}}
	change(&o)
	return dir, Run(t.Context(), m, a, b, o)
}

// TestDamagedCheckpointsAreRefused flips a byte in each file and cuts each short; the
// checkpoint before is offered, and every single byte of the checksums counts.
func TestDamagedCheckpointsAreRefused(t *testing.T) {
	dir, err := trained(t, func(*Options) {})
	require.NoError(t, err)
	c := Checkpoints{Dir: filepath.Join(dir, "checkpoints")}
	newest, err := c.Choose()
	require.NoError(t, err)
	require.Equal(t, 3, newest.Step)
	entries, err := os.ReadDir(newest.Dir)
	require.NoError(t, err)
	require.Len(t, entries, 5)
	damage := func(path string, change func([]byte) []byte) {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, change(append([]byte(nil), content...)), 0o644))
		_, err = c.Choose()
		require.ErrorContains(t, err, newest.Dir)
		require.ErrorContains(t, err, "--resume-from step-000002")
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
		require.NoError(t, os.WriteFile(path, content, 0o644))
	}
	for _, e := range entries {
		path := filepath.Join(newest.Dir, e.Name())
		damage(path, func(b []byte) []byte { return b[:len(b)-1] })
		damage(path, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		require.NoError(t, os.Rename(path, path+".away"))
		_, err = c.Choose()
		require.Error(t, err)
		require.NoError(t, os.Rename(path+".away", path))
	}
	sums := filepath.Join(newest.Dir, sumsFile)
	content, err := os.ReadFile(sums)
	require.NoError(t, err)
	for i := range content {
		damage(sums, func(b []byte) []byte { b[i] ^= 0x20; return b })
	}
	c.From = "step-000009"
	_, err = c.Choose()
	require.ErrorContains(t, err, "no such checkpoint")
	require.NoError(t, os.WriteFile(filepath.Join(c.path(1), stateFile), nil, 0o644))
	c.From = "step-000001"
	_, err = c.Choose()
	require.ErrorContains(t, err, "--overwrite", "none stands before it")
}

// TestOriginsAreCompared refuses other data, other tokens and another model.
func TestOriginsAreCompared(t *testing.T) {
	was := Origin{Base: "b", Description: "d", Tokens: "t", Data: []data.File{{Path: "a.json", SHA256: "1"}}}
	require.NoError(t, was.same("step", was))
	moved := was
	moved.Data = []data.File{{Path: "elsewhere.json", SHA256: "1"}}
	require.NoError(t, was.same("step", moved), "a name may change")
	for why, now := range map[string]Origin{
		"another base model":  {Base: "x", Description: "d", Tokens: "t", Data: was.Data},
		"a.json: has changed": {Base: "b", Description: "d", Tokens: "t", Data: []data.File{{Path: "a.json", SHA256: "2"}}},
		"has 0 files":         {Base: "b", Description: "d", Tokens: "t"},
		"other tokens":        {Base: "b", Description: "d", Tokens: "x", Data: was.Data},
	} {
		err := was.same("step", now)
		require.ErrorContains(t, err, why)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	}
}

// TestFullDisk stands for a disk that fills up during a run: what was kept stays whole.
func TestFullDisk(t *testing.T) {
	saves := 0
	dir, err := trained(t, func(o *Options) {
		o.Checkpoints.free = func(string) (int64, error) {
			if saves++; saves > 3 { // at the start, and before two saves
				return 5, nil
			}
			return math.MaxInt64, nil
		}
	})
	require.ErrorContains(t, err, "the disk has")
	c := Checkpoints{Dir: filepath.Join(dir, "checkpoints")}
	newest, err := c.Choose()
	require.NoError(t, err)
	require.Equal(t, 2, newest.Step)
	entries, err := os.ReadDir(c.Dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "nothing half-written")
	left, err := freeBytes(dir)
	require.NoError(t, err)
	require.Positive(t, left)
}

// TestVanishedOutput removes the directory under a run.
func TestVanishedOutput(t *testing.T) {
	var gone string
	_, err := trained(t, func(o *Options) {
		gone = o.Output
		o.Progress = func(Metrics) { _ = os.RemoveAll(gone) }
	})
	require.ErrorContains(t, err, "was removed or replaced")
	require.NoDirExists(t, gone)
}

// TestLock holds that one run at a time writes a directory.
func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	lock, err := NewLock(dir)
	require.NoError(t, err)
	_, err = NewLock(dir)
	require.ErrorContains(t, err, "another run writes it: process ")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	lock.Release()
	require.NoDirExists(t, dir, "an empty directory that was made for it goes")
	lock, err = NewLock(dir)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x"), nil, 0o644))
	lock.Release()
	require.FileExists(t, filepath.Join(dir, "x"))
}

// TestNotFiniteIsExplained breaks the base in one place and expects to be told where, with
// the rows that reach it; nothing moves and the checkpoint before stays.
func TestNotFiniteIsExplained(t *testing.T) {
	breakIn := func(name string, at func(values []float32, shape []int)) (string, []string, float64) {
		m, a := tiny(t)
		st, err := newStepper(m, a, quick())
		require.NoError(t, err)
		defer st.close()
		for i, n := range m.Names {
			if n != name {
				continue
			}
			values, err := model.Float32s(m.Tensors[i])
			require.NoError(t, err)
			shape := m.Tensors[i].Shape().Dimensions
			at(values, shape)
			require.NoError(t, m.Tensors[i].FinalizeAll())
			m.Tensors[i] = tensors.FromFlatDataAndDimensions(values, shape...)
		}
		before := hash(t, a.Params)
		b, err := data.NewBatcher(data.List{{IDs: []int32{1, 2, 3, 4}}, {IDs: []int32{7, 39, 8}}}, data.Plan{Batch: 2, Micro: 2})
		require.NoError(t, err)
		batches, err := b.Step(0)
		require.NoError(t, err)
		_, err = st.run(0, batches, 1e-3)
		k := &keeper{stepper: st, saved: 1, Checkpoints: Checkpoints{Dir: "c"}}
		err = k.explain(err, 0, batches, nil)
		var bad *NotFinite
		require.ErrorAs(t, err, &bad)
		require.Contains(t, err.Error(), filepath.Join("c", "step-000001"))
		require.Equal(t, before, hash(t, a.Params), "nothing moves")
		return bad.Place, bad.Samples, bad.Loss
	}
	inf := float32(math.Inf(1))
	place, samples, _ := breakIn("model.layers.1.mlp.up_proj.weight", func(v []float32, _ []int) { v[0] = inf })
	require.Equal(t, "layer 1, the base's output of up_proj", place)
	require.Len(t, samples, 2)
	place, samples, _ = breakIn("model.embed_tokens.weight", func(v []float32, shape []int) { v[39*shape[1]] = float32(math.NaN()) })
	require.Equal(t, "layer 0, the input of q_proj", place)
	require.Contains(t, samples, "sample 1")
}

// TestMemoryRule holds the written rule.
func TestMemoryRule(t *testing.T) {
	m := Memory{Engine: 1e9, Weights: 9e9}
	for _, c := range []struct {
		total, free int64
		warn, bad   bool
	}{{20e9, 15e9, false, false}, {20e9, 9e9, true, false}, {9e9, 8e9, true, false}, {8e9, 8e9, false, true}, {0, 0, false, false}} {
		warning, err := m.Fits(c.total, c.free, func(memory int64) string { return fmt.Sprintf("take %.1f", float64(memory)/1e9) })
		require.Equal(t, c.warn, warning != "")
		require.Equal(t, c.bad, err != nil)
		if c.warn {
			require.Contains(t, warning, fmt.Sprintf("but only %.1f GB are free (take %.1[1]f)", float64(c.free)/1e9))
		}
		if c.bad {
			require.ErrorContains(t, err, fmt.Sprintf("but the device has %.1f GB for it (take %.1[1]f)", float64(c.total)/1e9))
		}
	}
	model, a := tiny(t)
	size := Size{DType: "float32", Backend: "xla:cpu", Rows: 1, Length: 32}
	short := Estimate(model.Description, &a.Shape, size)
	require.Greater(t, Estimate(model.Description, nil, size).Trained, short.Trained)
	again := size
	again.Recompute = true
	require.Less(t, Estimate(model.Description, &a.Shape, again).Activations, short.Activations)
	few := size
	few.Stored = quant.FourBit
	require.Less(t, Estimate(model.Description, &a.Shape, few).Weights, short.Weights)
	require.Equal(t, short.Activations, Estimate(model.Description, &a.Shape, few).Activations)
	size.Length = 64
	require.Greater(t, Estimate(model.Description, &a.Shape, size).Activations, 2*short.Activations, "attention grows with the square")
	size.Length = 1 << 24
	require.LessOrEqual(t, Estimate(model.Description, &a.Shape, size).Scores, int64(3*4<<25), "a loss never holds all scores")
}

func FuzzSums(f *testing.F) {
	f.Add([]byte("0000000000000000000000000000000000000000000000000000000000000000  checkpoint.json\n"))
	f.Add([]byte("x  ../y\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		sums, err := parseSums(content)
		if err == nil {
			require.Contains(t, sums, stateFile)
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"format_version":1,"step":3}`))
	f.Add([]byte(`{"step":-1}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		if m, err := parseManifest(content); err == nil {
			require.Positive(t, m.Step)
		}
	})
}
