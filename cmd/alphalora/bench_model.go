package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"alphalora/alphalora"
	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/quant"
	"alphalora/model/weights"
)

// benched is what a measurement is of: a shape by its name, whose weights are always random,
// or a model's directory, whose weights are its own unless random ones are asked for.
type benched struct {
	shape, dir string
	random     bool
}

// addBenched gives cmd the flags of b, with the shape that is measured where none is named.
func addBenched(cmd *cobra.Command, shape string) *benched {
	b := &benched{}
	f := cmd.Flags()
	f.StringVar(&b.shape, "shape", shape, "model of this shape, with random weights: "+benchShapeNames())
	f.StringVar(&b.dir, "model", "", "measure the model in `DIR`, with its own weights, in place of a shape")
	f.BoolVar(&b.random, "random-weights", false, "read config.json alone of --model, and draw weights of its shapes on the spot; those of a --shape always are")
	cmd.MarkFlagsMutuallyExclusive("model", "shape")
	return b
}

// name is the shape's or the directory's.
func (b *benched) name() string {
	if b.dir != "" {
		return b.dir
	}
	return b.shape
}

// drawn tells whether the weights are random.
func (b *benched) drawn() bool { return b.dir == "" || b.random }

// describe reads what is measured, and the text of its config.json. A directory whose own
// weights are wanted must have some.
func (b *benched) describe() (config string, d model.Description, err error) {
	if b.dir == "" {
		return benchShape(b.shape)
	}
	if d, err = model.ReadDescription(b.dir); err != nil {
		return "", d, err
	}
	if !b.drawn() && !weights.Present(b.dir) {
		return "", d, fault.Input("--model "+b.dir, "add --random-weights to measure its shapes with weights that are drawn on the spot",
			"has no weights: neither %s nor %s", weights.SingleFile, weights.IndexFile)
	}
	text, err := os.ReadFile(filepath.Join(b.dir, "config.json"))
	return string(text), d, err
}

// open makes the model on the engine, d being what describe told, or a change of it where
// the weights are random.
func (b *benched) open(ctx context.Context, a *app, d model.Description, dtype string, q quantisation) (*model.Model, error) {
	if !b.drawn() {
		return a.loadModel(ctx, b.dir, dtype, q)
	}
	how, err := a.quantised(q)
	if err != nil {
		return nil, err
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return nil, err
	}
	if eng.Name == engine.Go || how.Kind != quant.None {
		return model.NewRandomQuantised(eng, d, dtype, 1, how.Kind)
	}
	return model.NewRandomOnDevice(eng, d, dtype, 1)
}

// matrices lists the projections of the first so many layers. done lets go of their files.
func (b *benched) matrices(d model.Description, layers int) (list []alphalora.Matrix, done func(), err error) {
	if b.drawn() {
		return randomProjections(d, layers), func() {}, nil
	}
	set, err := weights.Open(b.dir)
	if err != nil {
		return nil, nil, err
	}
	done = func() { _ = set.Close() }
	if list, err = projections(b.dir, set); err != nil {
		done()
		return nil, nil, err
	}
	return slices.DeleteFunc(list, func(m alphalora.Matrix) bool { return m.Layer >= layers }), done, nil
}

// benchShapes are models without weights, by the config.json that describes them.
var benchShapes = []struct{ name, config string }{
	{"tiny", `{"model_type":"llama","vocab_size":960,"hidden_size":192,"intermediate_size":512,"num_hidden_layers":4,"num_attention_heads":6,"num_key_value_heads":3}`},
	{"small", `{"model_type":"llama","vocab_size":4096,"hidden_size":512,"intermediate_size":1376,"num_hidden_layers":8,"num_attention_heads":8}`},
	{"2gb", `{"model_type":"llama","vocab_size":32000,"hidden_size":2048,"intermediate_size":5632,"num_hidden_layers":20,"num_attention_heads":32,"num_key_value_heads":4}`},
	{"tinyllama-1.1b", `{"model_type":"llama","vocab_size":32000,"hidden_size":2048,"intermediate_size":5632,"num_hidden_layers":22,"num_attention_heads":32,"num_key_value_heads":4}`},
	{"llama-2-7b", `{"model_type":"llama","vocab_size":32000,"hidden_size":4096,"intermediate_size":11008,"num_hidden_layers":32,"num_attention_heads":32}`},
	{"llama-2-70b", `{"model_type":"llama","vocab_size":32000,"hidden_size":8192,"intermediate_size":28672,"num_hidden_layers":80,"num_attention_heads":64,"num_key_value_heads":8}`},
	{"mistral-7b", `{"model_type":"mistral","vocab_size":32000,"hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8}`},
	{"gemma-7b", `{"model_type":"gemma","vocab_size":256000,"hidden_size":3072,"intermediate_size":24576,"num_hidden_layers":28,"num_attention_heads":16,"num_key_value_heads":16,"head_dim":256}`},
}

func benchShapeNames() string {
	var names []string
	for _, s := range benchShapes {
		names = append(names, s.name)
	}
	return strings.Join(names, ", ")
}

// benchShape finds a shape by its name.
func benchShape(name string) (config string, d model.Description, err error) {
	for _, s := range benchShapes {
		if s.name == name {
			d, err = model.ParseDescription("--shape "+name, []byte(s.config))
			return s.config, d, err
		}
	}
	return "", d, fault.Input("--shape "+name, "choose "+benchShapeNames(), "there is no such shape")
}

// wholeOnly refuses a flag that changes a shape, where the weights are a checkpoint's.
func (b *benched) wholeOnly(flag string, value int) error {
	if value == 0 || b.drawn() {
		return nil
	}
	return fault.Input(fmt.Sprintf("--%s %d", flag, value), "leave it out, or add --random-weights", "cannot be changed in the weights of %s", b.dir)
}
