package main

import (
	"context"
	"fmt"
	"strings"

	"alphalora/alphalora"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/weights"
)

// projections lists the seven projections of every layer of the model in dir, to be
// read from set when their turn comes.
func projections(dir string, set *weights.Set) ([]alphalora.Matrix, error) {
	layers := 0
	for _, name := range set.Names() {
		var layer int
		if n, _ := fmt.Sscanf(name, "model.layers.%d.", &layer); n == 1 {
			layers = max(layers, layer+1)
		}
	}
	if layers == 0 {
		return nil, fault.Input(dir, "analyze reads decoders of the Llama kind in Hugging Face layout",
			"no tensor is named like %s; found %s", model.Q.WeightName(0), someOf(set.Names()))
	}
	d, err := model.ReadDescription(dir)
	fused := err == nil && d.Fused // a checkpoint of another family is analysed too
	var matrices []alphalora.Matrix
	for layer := range layers {
		for _, site := range model.Sites() {
			name := site.WeightName(layer)
			t, ok := set.Get(name)
			if fused {
				t, ok = d.Projection(set, layer, site)
			}
			if !ok {
				return nil, fault.Input(dir, "analyze needs the seven projections of every layer",
					"%s is missing; found %s", name, someOf(set.Names()))
			}
			if len(t.Shape) != 2 || t.Shape[0] < 1 || t.Shape[1] < 1 {
				return nil, fault.Input(dir, "correct or convert the file", "%s has shape %v; a projection has two dimensions, of 1 or more each", name, t.Shape)
			}
			matrices = append(matrices, alphalora.Matrix{
				Name: name, Layer: layer, Site: site.String(), Rows: t.Shape[0], Cols: t.Shape[1], DType: string(t.DType),
				Bytes: func() ([]byte, error) { return t.Data, nil },
				Done:  t.Release,
			})
		}
	}
	return matrices, nil
}

// someOf names a few of names and counts them.
func someOf(names []string) string {
	const few = 4
	if len(names) <= few {
		return fmt.Sprintf("%d tensors: %s", len(names), strings.Join(names, ", "))
	}
	return fmt.Sprintf("%d tensors: %s, ...", len(names), strings.Join(names[:few], ", "))
}

// checkSpectrum refuses an analysis, read from a file, of other weights than dir's.
func (a *app) checkSpectrum(ctx context.Context, analysis *alphalora.Analysis, dir string) error {
	set, err := weights.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = set.Close() }()
	matrices, err := projections(dir, set)
	if err != nil {
		return err
	}
	known, err := analysis.CheckModel(ctx, dir, matrices)
	if err == nil && !known {
		a.say("warning: the spectrum of %s has no fingerprint: it is taken for one of %s", analysis.Model, dir)
	}
	return err
}
