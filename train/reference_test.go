package train

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"alphalora/internal/engine"
	"alphalora/internal/testkit"
	"alphalora/model"
	"alphalora/model/quant"
	"alphalora/model/weights"
	"alphalora/moelora"
	"alphalora/train/data"

	"github.com/stretchr/testify/require"
)

// reference is one of the small models whose numbers were made by the released code.
type reference struct {
	model   *model.Model
	adapter *moelora.Adapter
	values  *weights.Set
	dir     string
}

func openReference(t *testing.T, family string) reference {
	return openQuantised(t, family, "float32", quant.None)
}

// openQuantised is that in another number format, or with the projections in few bits.
func openQuantised(t *testing.T, family, dtype string, kind quant.Kind) reference {
	dir := testkit.Shared(t, "reference", family)
	eng, err := engine.Open("")
	require.NoError(t, err)
	t.Log(eng.Describe())
	m, err := model.LoadQuantised(t.Context(), eng, dir, dtype, model.Quantisation{Kind: kind})
	require.NoError(t, err)
	a, err := moelora.Load(filepath.Join(dir, "adapter"), m, 0)
	require.NoError(t, err)
	set, err := weights.OpenFile(filepath.Join(dir, "reference.safetensors"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = set.Close() })
	return reference{m, a, set, dir}
}

// rows reads an integer tensor [rows, length] as one batch of full rows.
func rows(t *testing.T, set *weights.Set, ids, labels string, at int) data.Batch {
	read := func(name string) ([]int32, []int) {
		tensor, ok := set.Get(name)
		require.True(t, ok, name)
		values, err := tensor.Int64s()
		require.NoError(t, err)
		out := make([]int32, len(values))
		for i, v := range values {
			out[i] = int32(v)
		}
		shape := tensor.Shape
		if len(shape) == 3 {
			n := shape[1] * shape[2]
			out, shape = out[at*n:(at+1)*n], shape[1:]
		}
		return out, shape
	}
	i, shape := read(ids)
	l, _ := read(labels)
	b := data.Batch{IDs: i, Labels: l, Rows: shape[0], Length: shape[1]}
	for range b.Rows {
		b.Lengths = append(b.Lengths, int32(b.Length))
	}
	for r := range b.Rows {
		for c := 1; c < b.Length; c++ {
			if l[r*b.Length+c] >= 0 {
				b.Targets++
			}
		}
	}
	return b
}

func floats(t *testing.T, set *weights.Set, name string) []float32 {
	tensor, ok := set.Get(name)
	require.True(t, ok, name)
	v, err := tensor.Float32s()
	require.NoError(t, err)
	return v
}

// references runs a test on each of the models with numbers of the released code.
func references(t *testing.T, test func(t *testing.T, ref reference)) {
	for _, family := range []string{"llama", "mistral", "gemma"} {
		t.Run(family, func(t *testing.T) { test(t, openReference(t, family)) })
	}
}

// TestReferenceGradients holds loss, routing loss and every gradient of the released code.
func TestReferenceGradients(t *testing.T) { references(t, requireGradients) }

func requireGradients(t *testing.T, ref reference) {
	st, err := newStepper(ref.model, ref.adapter, settings{balance: 0.001})
	require.NoError(t, err)
	defer st.close()
	batch := rows(t, ref.values, "input_ids", "labels", 0)
	grads, sums, err := st.gradients(1, []data.Batch{batch})
	require.NoError(t, err)
	r := st.report([]data.Batch{batch}, sums, 0)
	require.InDelta(t, floats(t, ref.values, "loss")[0], r.loss, 1e-4)
	require.InDelta(t, floats(t, ref.values, "balance_loss")[0], r.balance, 1e-4)

	named, err := ref.adapter.Split(grads)
	require.NoError(t, err)
	checked := 0
	for _, name := range ref.values.Names() {
		file, ok := strings.CutPrefix(name, "grad.")
		if !ok {
			continue
		}
		want := floats(t, ref.values, name)
		file = strings.Replace(file, ".default_", "_", 1)
		got, ok := named[file]
		require.True(t, ok, file)
		values, err := got.Float32s()
		require.NoError(t, err)
		if strings.Contains(file, "layers.0.") && strings.Contains(file, "router") {
			require.InDelta(t, 0, norm(want), 1e-7, "a single expert's router has no gradient")
			checked++
			continue
		}
		require.LessOrEqual(t, distance(values, want), 1e-3*norm(want), file)
		checked++
	}
	require.Equal(t, 182, checked, "every adapter tensor has a gradient to compare")
}

// TestReferenceCurve holds 30 optimiser steps of the released code.
func TestReferenceCurve(t *testing.T) { references(t, requireCurve) }

func requireCurve(t *testing.T, ref reference) {
	curve := readCurve(t, ref.dir)
	require.Len(t, curve.Loss, 30)
	for step, r := range ref.train(t, curve) {
		require.InDelta(t, curve.Loss[step], r.loss, 2e-3, "loss of step %d", step+1)
		require.InDelta(t, curve.Balance[step], r.balance, 2e-3, "routing loss of step %d", step+1)
		require.InDelta(t, curve.GradNorm[step], r.norm, 2e-3*curve.GradNorm[step]+2e-3, "gradient norm of step %d", step+1)
	}
	set := curve.values
	final, err := ref.adapter.Values()
	require.NoError(t, err)
	checked := 0
	for _, name := range set.Names() {
		if name == "input_ids" {
			continue
		}
		got, ok := final[strings.Replace(name, ".default_", "_", 1)]
		require.True(t, ok, name)
		values, err := got.Float32s()
		require.NoError(t, err)
		want := floats(t, set, name)
		require.LessOrEqual(t, distance(values, want), 0.02*norm(want)+1e-3, name)
		checked++
	}
	require.Equal(t, 182, checked)
}

// curve is how the released code trains a reference model, and what it measured.
type curve struct {
	Steps        int
	Eps          float64
	LearningRate float64 `json:"learning_rate"`
	Warmup       int     `json:"warmup_steps"`
	MaxGradNorm  float64 `json:"max_grad_norm"`
	Coefficient  float64 `json:"balance_coefficient"`
	Loss         []float64
	Balance      []float64
	GradNorm     []float64 `json:"grad_norm_before_clip"`

	values *weights.Set // inputs of the steps, and the adapter after them
}

func readCurve(t *testing.T, dir string) (c curve) {
	raw, err := os.ReadFile(filepath.Join(dir, "curve.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &c))
	c.values, err = weights.OpenFile(filepath.Join(dir, "curve.safetensors"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.values.Close() })
	return c
}

// train takes the curve's steps, from the adapter with every B at zero.
func (ref reference) train(t *testing.T, c curve) []measured {
	ref.adapter.ZeroB()
	st, err := newStepper(ref.model, ref.adapter, settings{balance: c.Coefficient, maxGradNorm: c.MaxGradNorm,
		optimizer: AdamW{Beta1: 0.9, Beta2: 0.999, Epsilon: c.Eps}})
	require.NoError(t, err)
	defer st.close()
	schedule := Schedule{Kind: "linear", Peak: c.LearningRate, Warmup: c.Warmup, Total: c.Steps}
	list := make([]measured, c.Steps)
	for step := range list {
		list[step], err = st.step(step+1, []data.Batch{rows(t, c.values, "input_ids", "input_ids", step)}, schedule.Rate(step))
		require.NoError(t, err)
	}
	return list
}

func distance(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		sum += d * d
	}
	return math.Sqrt(sum)
}

func norm(a []float32) float64 { return distance(a, make([]float32, len(a))) }
