package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/quant"
)

func benchCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "bench",
		Short:   "measure the speed of this machine at the program's work",
		Example: "  alphalora bench generate --json generate.json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(started(a, benchTrainCommand(a)), started(a, benchGenerateCommand(a)), started(a, benchLoadCommand(a)),
		started(a, benchDataCommand(a)), started(a, benchAnalyzeCommand(a)), started(a, benchEvaluateCommand(a)), started(a, benchServeCommand(a)))
	return cmd
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

// benchWeights are random: made on the device where that is quick, on the host otherwise and
// where they are to be rounded to few bits.
func benchWeights(eng *engine.Engine, d model.Description, dtype string, stored quant.Kind) (*model.Model, error) {
	if eng.Name == engine.Go || stored != quant.None {
		return model.NewRandomQuantised(eng, d, dtype, 1, stored)
	}
	return model.NewRandomOnDevice(eng, d, dtype, 1)
}

// median runs work once unseen, then runs times, and returns the middle duration.
func median(runs int, work func() error) (time.Duration, error) {
	if err := work(); err != nil {
		return 0, err
	}
	times := make([]time.Duration, runs)
	for i := range times {
		start := time.Now()
		if err := work(); err != nil {
			return 0, err
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	return times[runs/2], nil
}

// inRange refuses a flag's value outside of [low, high].
func inRange(flag string, value, low, high int) error {
	if value < low || value > high {
		return fault.Input(fmt.Sprintf("--%s %d", flag, value), fmt.Sprintf("use %d to %d", low, high), "is out of range")
	}
	return nil
}
