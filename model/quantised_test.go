package model_test

import (
	"os"
	"path/filepath"
	"testing"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/quant"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"
)

// odd is a decoder whose matrices are no multiples of a block.
func odd() model.Description {
	d := packable()["plain"]
	d.Hidden = 20
	return d
}

// restored puts what the pieces stand for in the place of a whole model's projections.
func restored(t *testing.T, m *model.Model, kind quant.Kind) {
	for layer := range m.Layers {
		for _, site := range model.Sites() {
			in, out := m.SiteDims(site)
			for i, name := range m.Names {
				if name != site.WeightName(layer) {
					continue
				}
				values, err := model.Float32s(m.Tensors[i])
				require.NoError(t, err)
				if m.InOut {
					values = turned(values, in)
				}
				values = kind.Restore(kind.Quantise(values, out, in), out, in)
				dims := []int{out, in}
				if m.InOut {
					values, dims = turned(values, out), []int{in, out}
				}
				m.Tensors[i] = tensors.FromFlatDataAndDimensions(values, dims...)
			}
		}
	}
}

// turned transposes a matrix of so many rows.
func turned(values []float32, rows int) []float32 {
	columns, out := len(values)/rows, make([]float32, len(values))
	for i, v := range values {
		out[i%columns*rows+i/columns] = v
	}
	return out
}

// lossAndGradient is a sum over logits, and its gradient by the embedding.
func lossAndGradient(t *testing.T, m *model.Model, checkpoint bool) [][]float32 {
	exec, err := NewExec(m.Engine.Backend, func(inputs []*Node) []*Node {
		d := m.Decoder(nil)
		d.Checkpoint = checkpoint
		embed := inputs[0]
		d.Weights, inputs = m.Nodes(inputs)
		logits := d.Logits(d.Forward(inputs[0], nil))
		return []*Node{logits, Gradient(ReduceAllSum(Square(logits)), embed)[0]}
	})
	require.NoError(t, err)
	args := make([]any, 0, m.Len()+1)
	for _, w := range m.Tensors {
		args = append(args, w)
	}
	outs, err := engine.Try1(func() []*tensors.Tensor { return exec.MustCall(append(args, row([]int32{3, 1, 4, 15, 9, 2, 6}))...) })
	require.NoError(t, err)
	var all [][]float32
	for _, o := range outs {
		values, err := tensors.CopyFlatData[float32](o)
		require.NoError(t, err)
		all = append(all, values)
	}
	return all
}

// TestQuantisedIsRestored: logits and gradients are those of the whole weights that the
// pieces stand for, on each engine.
func TestQuantisedIsRestored(t *testing.T) {
	for _, c := range []struct {
		engine     string
		kind       quant.Kind
		checkpoint bool
	}{{engine.CPU, quant.Int8, false}, {engine.CPU, quant.FourBit, true}, {engine.Go, quant.FourBit, false}} {
		t.Run(c.engine+" "+c.kind.String(), func(t *testing.T) {
			eng, err := engine.Open(c.engine)
			if err != nil {
				t.Skip(err)
			}
			whole, err := model.NewRandom(eng, odd(), "float32", 5)
			require.NoError(t, err)
			restored(t, whole, c.kind)
			want := lossAndGradient(t, whole, c.checkpoint)
			m, err := model.NewRandomQuantised(eng, odd(), "float32", 5, c.kind)
			require.NoError(t, err)
			for i, got := range lossAndGradient(t, m, c.checkpoint) {
				require.InDeltaSlice(t, want[i], got, 1e-5)
			}
		})
	}
}

// TestQuantisedOnceAndKept: the cache is made, used again as it is, and refused by name where
// it is another base's or damaged.
func TestQuantisedOnceAndKept(t *testing.T) {
	eng, err := engine.Open("")
	require.NoError(t, err)
	base, other := filepath.Join("testdata", "goldens", "llama-2"), filepath.Join("testdata", "goldens", "llama-3.2")
	for _, kind := range []quant.Kind{quant.Int8, quant.FourBit} {
		cache, told := filepath.Join(t.TempDir(), "new"), 0
		how := model.Quantisation{Kind: kind, Cache: cache, Log: func(string) { told++ }}
		load := func(dir string) (*model.Model, error) {
			return model.LoadQuantised(t.Context(), eng, dir, "float32", how)
		}
		kept := func() string {
			entries, err := os.ReadDir(cache)
			require.NoError(t, err)
			require.Len(t, entries, 1)
			return filepath.Join(cache, entries[0].Name())
		}
		first, err := load(base)
		require.NoError(t, err)
		path := kept()
		second, err := load(base)
		require.NoError(t, err)
		require.Equal(t, 1, told, "quantised once")
		how.Cache = ""
		unkept, err := load(base)
		require.NoError(t, err)
		how.Cache = cache
		for i, name := range first.Names {
			require.True(t, first.Tensors[i].Equal(second.Tensors[i]), name)
			require.True(t, first.Tensors[i].Equal(unkept.Tensors[i]), name)
		}
		require.ErrorContains(t, first.Save(filepath.Join(t.TempDir(), "x.safetensors"), "float32"), "merge into that")

		refuse := func(dir, why string) {
			_, err := load(dir)
			require.ErrorContains(t, err, path)
			require.ErrorContains(t, err, why)
			require.ErrorContains(t, err, "remove the file")
			require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
		}
		whole, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, at := range []int{3, 20, len(whole) / 2, len(whole) - 1} {
			damaged := append([]byte(nil), whole...)
			damaged[at] ^= 1
			require.NoError(t, os.WriteFile(path, damaged, 0o644))
			refuse(base, "")
		}
		require.NoError(t, os.WriteFile(path, whole[:len(whole)-9], 0o644))
		refuse(base, "cannot be used")
		require.NoError(t, os.Remove(path))
		_, err = load(other)
		require.NoError(t, err)
		require.NoError(t, os.Rename(kept(), path))
		refuse(base, "is of another base or way: its base is")
	}
}

// TestOddInputsAreRefused: two values of nf4 share a byte.
func TestOddInputsAreRefused(t *testing.T) {
	eng, err := engine.Open("")
	require.NoError(t, err)
	d := packable()["plain"]
	d.Intermediate = 23
	_, err = model.NewRandomQuantised(eng, d, "float32", 5, quant.FourBit)
	require.ErrorContains(t, err, "model_quant nf4: down_proj has 23 inputs, an odd number (use int8)")
	_, err = model.NewRandomQuantised(eng, d, "float32", 5, quant.Int8)
	require.NoError(t, err)
}
