package train

import (
	"path/filepath"
	"testing"

	"alphalora/internal/fault"
	"alphalora/model/weights"
	"alphalora/train/data"

	"github.com/stretchr/testify/require"
)

// TestLoadOwned reads the adapter's values, and those alone, from a checkpoint.
func TestLoadOwned(t *testing.T) {
	m, a := tiny(t)
	st, err := newStepper(m, a, quick())
	require.NoError(t, err)
	defer st.close()
	_, err = st.step(1, []data.Batch{sentence(2, 8)}, 1e-2)
	require.NoError(t, err)
	c := Checkpoints{Dir: t.TempDir(), Every: 1, Keep: 1}
	require.NoError(t, st.save(c, 7))
	require.True(t, IsCheckpoint(c.path(7)))
	require.False(t, IsCheckpoint(c.Dir))

	_, fresh := tiny(t)
	require.NotEqual(t, hash(t, a.Params), hash(t, fresh.Params))
	step, err := LoadOwned(c.path(7), fresh.Params)
	require.NoError(t, err)
	require.Equal(t, 7, step)
	require.Equal(t, hash(t, a.Params), hash(t, fresh.Params))

	_, err = LoadOwned(c.path(7), m.Params)
	require.ErrorContains(t, err, "lacks tensor owned.")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
}

func TestLoadOwnedRefuses(t *testing.T) {
	_, a := tiny(t)
	before := hash(t, a.Params)
	states := func(change func(name string, values []float32) []float32) []weights.Tensor {
		var list []weights.Tensor
		for i, name := range a.Params.Names {
			shape := a.Params.Tensors[i].Shape().Dimensions
			values := change(name, make([]float32, shape[0]*shape[1]))
			if values == nil {
				continue
			}
			tensor, err := weights.FromFloat32s(ownedPrefix+name, []int{len(values) / shape[1], shape[1]}, values, weights.F32)
			require.NoError(t, err)
			list = append(list, tensor)
		}
		return list
	}
	same := func(_ string, values []float32) []float32 { return values }
	step := map[string]string{"step": "3"}
	first := a.Params.Names[0]
	for why, c := range map[string]struct {
		tensors  []weights.Tensor
		metadata map[string]string
	}{
		"does not state its step": {states(same), nil},
		"state its step":          {states(same), map[string]string{"step": "-1"}},
		"lacks tensor owned." + first: {states(func(name string, values []float32) []float32 {
			if name == first {
				return nil
			}
			return values
		}), step},
		"is expected": {states(func(_ string, values []float32) []float32 { return append(values, values...) }), step},
	} {
		dir := t.TempDir()
		require.NoError(t, weights.Write(filepath.Join(dir, stateFile), c.tensors, c.metadata))
		_, err := LoadOwned(dir, a.Params)
		require.ErrorContains(t, err, why)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	}
	dir := t.TempDir()
	list := states(same)
	copy(list[1].Data, "\x00\x00\xc0\x7f")
	require.NoError(t, weights.Write(filepath.Join(dir, stateFile), list, step))
	_, err := LoadOwned(dir, a.Params)
	require.ErrorContains(t, err, "is not finite")
	_, err = LoadOwned(t.TempDir(), a.Params)
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	require.Equal(t, before, hash(t, a.Params), "a bad checkpoint changes nothing")
}
