package main

import (
	"context"
	"io"
	"slices"

	"alphalora/configs"
	"alphalora/internal/atomicfile"
	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/moelora"
	"alphalora/train"
)

// checkAttention refuses attention that the engine or the shape does not have.
func (t *training) checkAttention(m *model.Model) error {
	if !slices.Contains([]string{configs.PlainAttention, configs.FlashAttention}, t.attention) {
		return fault.Input("--attention "+t.attention, "choose plain or flash", "there is no such attention")
	}
	if t.attention == configs.FlashAttention {
		if why := m.FlashRefusal(t.length, false); why != "" {
			return fault.Input("--attention flash", "use plain", "%s", why)
		}
	}
	return nil
}

// checkAttentionOf is checkAttention before there are weights, where their number format is
// known by then.
func (t *training) checkAttentionOf(ctx context.Context, a *app, d model.Description) error {
	if t.dtype == model.FileDType {
		return nil
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return err
	}
	m, err := model.NewShapes(eng, d, t.dtype)
	if err != nil {
		return err
	}
	return t.checkAttention(m)
}

// emitStep writes the program of a step as xla:cuda would compile it. bench/gpu_compile.py
// compiles it for a GPU that is not there.
func (a *app) emitStep(t *training) error {
	if err := writable("--stablehlo", t.stablehlo); err != nil {
		return err
	}
	d, kind, err := t.described()
	if err != nil {
		return err
	}
	eng, err := engine.OpenWithoutGPU()
	if err != nil {
		return err
	}
	defer eng.Close()
	m, err := model.NewShapes(eng, d, t.dtype)
	if err != nil {
		return err
	}
	if err := t.checkAttention(m); err != nil {
		return err
	}
	shape := t.adapter(kind)
	adapter, err := moelora.New(m, shape, 2)
	if err != nil {
		return err
	}
	program, err := train.Emit(m, adapter, t.rows, t.length, t.options())
	if err != nil {
		return err
	}
	err = atomicfile.Write(t.stablehlo, func(w io.Writer) error { _, err := io.WriteString(w, program); return err })
	a.say("%s: %.1f MB of StableHLO, %.1f TFLOP of products, %d trainable parameters", t.stablehlo, float64(len(program))/1e6,
		train.Flops(d, shape, t.rows, t.length)/1e12, moelora.Count(d, shape).Trainable)
	return err
}
