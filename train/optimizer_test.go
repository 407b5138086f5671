package train

import (
	"strings"
	"testing"

	"alphalora/model"
	"alphalora/train/data"

	"github.com/stretchr/testify/require"
)

// TestNoDecay holds that decay reaches what it should, row by row: with no gradient a step
// only decays.
func TestNoDecay(t *testing.T) {
	for _, c := range []struct {
		leave []model.Role
		is    func(name string) bool
	}{
		{nil, func(string) bool { return false }},
		{[]model.Role{model.Routing}, func(name string) bool { return strings.Contains(name, "router") }},
		{[]model.Role{model.Expert}, func(name string) bool { return strings.Contains(name, "lora_") }},
	} {
		m, a := tiny(t)
		s := quick()
		s.optimizer.Decay, s.optimizer.NoDecay = 0.5, c.leave
		before, err := a.Values()
		require.NoError(t, err)
		require.NoError(t, stepWithoutGradient(t, m, a.Params, s, func() (*stepper, error) { return newStepper(m, a, s) }))
		after, err := a.Values()
		require.NoError(t, err)
		kept, decayed := 0, 0
		for name, tensor := range after {
			if strings.Contains(name, "layers.0.") && strings.Contains(name, "router") {
				continue // a single expert's, which is not trained
			}
			old, err := before[name].Float32s()
			require.NoError(t, err)
			now, err := tensor.Float32s()
			require.NoError(t, err)
			factor := float32(1 - 0.1*0.5)
			if kept++; c.is(name) {
				factor = 1
			} else {
				kept--
				decayed++
			}
			for i := range old {
				require.InDelta(t, old[i]*factor, now[i], 1e-6, name)
			}
		}
		require.Positive(t, decayed)
		require.Equal(t, c.leave != nil, kept > 0)
	}
}

// TestNoDecayOfModels is the same in full-parameter training.
func TestNoDecayOfModels(t *testing.T) {
	m, _ := tiny(t)
	s := quick()
	s.optimizer.Decay, s.optimizer.NoDecay = 0.5, []model.Role{model.Norm, model.Embedding}
	before := make([][]float32, m.Len())
	for i := range before {
		var err error
		before[i], err = model.Float32s(m.Tensors[i])
		require.NoError(t, err)
	}
	require.NoError(t, stepWithoutGradient(t, m, m.Params, s, func() (*stepper, error) { return newStepper(m, nil, s) }))
	kept := 0
	for i, name := range m.Names {
		now, err := model.Float32s(m.Tensors[i])
		require.NoError(t, err)
		factor := float32(1 - 0.1*0.5)
		if strings.Contains(name, "norm") || strings.Contains(name, "embed") {
			factor = 1
			kept++
		}
		for j := range now {
			require.InDelta(t, before[i][j]*factor, now[j], 1e-6, name)
		}
	}
	require.Equal(t, 2*m.Layers+2, kept)
}

// stepWithoutGradient steps at a learning rate of 0.1 on a batch without targets.
func stepWithoutGradient(t *testing.T, m *model.Model, owned *model.Params, s settings, open func() (*stepper, error)) error {
	st, err := open()
	require.NoError(t, err)
	defer st.close()
	st.balance, st.zLoss = 0, 0
	b := sentence(2, 8)
	for i := range b.Labels {
		b.Labels[i] = data.Ignored
	}
	b.Targets = 0
	_, err = st.step(1, []data.Batch{b}, 0.1)
	return err
}

// flatGradients returns loss parts and gradients, flat, of a step over micro-batches.
func flatGradients(t *testing.T, st *stepper, batches ...data.Batch) (sums, grads []float32) {
	g, sums, err := st.gradients(1, batches)
	require.NoError(t, err)
	for _, tensor := range g.Tensors {
		values, err := model.Float32s(tensor)
		require.NoError(t, err)
		grads = append(grads, values...)
	}
	return sums, grads
}

// opened is a stepper on the tiny model.
func opened(t *testing.T, s settings) *stepper {
	m, a := tiny(t)
	st, err := newStepper(m, a, s)
	require.NoError(t, err)
	t.Cleanup(st.close)
	return st
}

// TestAccumulatedRoutingLosses holds what the routing losses of a step are: the z-loss that
// of all tokens, whatever micro-batches they came in; the balance loss, which is not linear,
// the mean of the micro-batches' own by their tokens.
func TestAccumulatedRoutingLosses(t *testing.T) {
	whole := sentence(4, 20)
	var parts []data.Batch
	for i := range 2 {
		parts = append(parts, data.Batch{Rows: 2, Length: 20, IDs: whole.IDs[i*40 : (i+1)*40], Labels: whole.Labels[i*40 : (i+1)*40],
			Lengths: whole.Lengths[2*i : 2*i+2]})
	}
	for i := range whole.Labels { // the routing losses alone
		whole.Labels[i] = data.Ignored
	}
	layers := len(opened(t, quick()).adapter.Experts)

	z := opened(t, settings{zLoss: 0.5})
	sums, grads := flatGradients(t, z, whole)
	again, same := flatGradients(t, z, parts...)
	require.Positive(t, norm(grads))
	require.InDeltaSlice(t, sums[1+layers:], again[1+layers:], 1e-5)
	require.InDeltaSlice(t, grads, same, 1e-6)

	balance := opened(t, settings{balance: 0.5})
	sums, grads = flatGradients(t, balance, parts...)
	require.Positive(t, norm(grads))
	wantSums, want := make([]float32, len(sums)), make([]float32, len(grads))
	for _, part := range parts {
		share := float32(part.Tokens()) / float32(whole.Tokens())
		own, g := flatGradients(t, balance, part)
		for i := range g {
			want[i] += share * g[i]
		}
		for i := range own {
			wantSums[i] += share * own[i]
		}
	}
	require.InDeltaSlice(t, wantSums, sums, 1e-5)
	require.InDeltaSlice(t, want, grads, 1e-6)
	at, _ := flatGradients(t, balance, whole)
	require.NotEqual(t, at[1:1+layers], sums[1:1+layers], "were they equal, the rule would be needless")
}
