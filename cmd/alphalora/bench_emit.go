package main

import (
	"context"
	"errors"
	"io"
	"slices"

	"alphalora/configs"
	"alphalora/internal/atomicfile"
	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/generate"
	"alphalora/model/quant"
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
	m, err := model.NewShapes(eng, d, t.dtype, quant.None)
	if err != nil {
		return err
	}
	return t.checkAttention(m)
}

// virtual is how many devices the engine that stands in for a GPU shows.
const virtual = 4

// checkDevices refuses what --devices and --shard-base cannot be.
func (t *training) checkDevices() error {
	switch {
	case t.devices == 1 && !t.divided:
		return nil
	case t.stablehlo == "":
		return fault.Input("--devices and --shard-base", "add --stablehlo FILE, or run train with training.devices", "are for programs that are written, not run")
	case t.devices == 1:
		return fault.Input("--shard-base", "set --devices", "needs several devices")
	}
	return errors.Join(inRange("devices", t.devices, 1, virtual), train.Divisible(t.rows, t.rows, t.devices))
}

// emitStep writes the program of a step as xla:cuda would compile it. bench/gpu_compile.py
// compiles it for a GPU that is not there.
func (a *app) emitStep(t *training) error {
	if err := errors.Join(writable("--stablehlo", t.stablehlo), t.checkDevices()); err != nil {
		return err
	}
	d, kind, err := t.described()
	if err != nil {
		return err
	}
	how, err := a.quantised(t.quant)
	if err != nil {
		return err
	}
	m, err := shapesWithoutGPU(d, t.dtype, how.Kind, engine.Devices{Count: t.devices, Divided: t.divided})
	if err != nil {
		return err
	}
	defer m.Engine.Close()
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
	err = writeProgram(t.stablehlo, program)
	a.say("%s: %.1f MB of StableHLO, %.1f TFLOP of products, %d trainable parameters", t.stablehlo, float64(len(program))/1e6,
		train.Flops(d, shape, t.rows, t.length)/1e12, moelora.Count(d, shape).Trainable)
	return err
}

// emitDecoding writes the program that decodes a chunk of tokens.
func (a *app) emitDecoding(g *generating) error {
	if err := errors.Join(writable("--stablehlo", g.stablehlo), g.check()); err != nil {
		return err
	}
	how, err := a.quantised(g.quant)
	if err != nil {
		return err
	}
	_, d, err := g.describe()
	if err != nil {
		return err
	}
	m, err := shapesWithoutGPU(d, g.dtype, how.Kind, engine.Devices{})
	if err != nil {
		return err
	}
	defer m.Engine.Close()
	generator, err := generate.New(m, nil, g.batches[0])
	if err != nil {
		return err
	}
	program, err := generator.Emit(g.batches[0], g.prompt+g.new)
	if err != nil {
		return err
	}
	err = writeProgram(g.stablehlo, program)
	a.say("%s: %.1f MB of StableHLO; a step reads %.2f GB of weights and filled cache", g.stablehlo, float64(len(program))/1e6,
		float64(stepBytes(m, g.batches[0], g.prompt+g.new/2))/1e9)
	return err
}

// shapesWithoutGPU is a model that graphs for xla:cuda can be built of, for devices that need
// not be there.
func shapesWithoutGPU(d model.Description, dtype string, stored quant.Kind, devices engine.Devices) (*model.Model, error) {
	eng, err := engine.OpenWithoutGPU()
	if err != nil {
		return nil, err
	}
	eng.Devices = devices
	m, err := model.NewShapes(eng, d, dtype, stored)
	if err != nil {
		eng.Close()
	}
	return m, err
}

func writeProgram(path, program string) error {
	return atomicfile.Write(path, func(w io.Writer) error { _, err := io.WriteString(w, program); return err })
}
