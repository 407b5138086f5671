// Command seedling writes what the small base model is pretrained from: its tokenizer,
// its config.json, the corpus in tokens, and the configuration of the run. `make
// seedling` calls it, trains, and puts the result where the program embeds it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"alphalora/configs"
	"alphalora/internal/atomicfile"
	"alphalora/internal/seedling"
	"alphalora/model/tokenizer"
)

func main() {
	out := flag.String("out", "runs/seedling", "directory to write")
	steps := flag.Int("steps", 6000, "optimiser steps of the pretraining")
	records := flag.Bool("records", false, "write the tasks' test records instead, each as NAME/test.json")
	flag.Parse()
	var err error
	if *records {
		err = writeRecords(*out)
	} else {
		err = write(*out, *steps)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "seedling:", err)
		os.Exit(1)
	}
}

// The shape of the model and of its batches; its trials are in docs/seedling.md.
const (
	batch  = 16  // rows of a step
	length = 128 // tokens of a row
	seed   = 1
)

func write(out string, steps int) error {
	start := filepath.Join(out, "start") // a model directory without weights
	if err := os.MkdirAll(start, 0o755); err != nil {
		return err
	}
	world := seedling.NewWorld()
	tokens, err := world.TokenizerJSON()
	if err != nil {
		return err
	}
	policies, err := seedling.TokenizerConfigJSON()
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"tokenizer.json": tokens, "tokenizer_config.json": policies} {
		if err := atomicfile.WriteBytes(filepath.Join(start, name), content); err != nil {
			return err
		}
	}
	t, err := tokenizer.Open(start)
	if err != nil {
		return err
	}
	defer t.Close()
	rows := (t.MaxID() + 8) / 8 * 8 // of the embedding, in whole eights
	if err := atomicfile.WriteBytes(filepath.Join(start, "config.json"), modelConfig(rows)); err != nil {
		return err
	}
	if err := writeRows(world, t, filepath.Join(out, "corpus.jsonl"), steps*batch); err != nil {
		return err
	}
	run, err := runConfig(out, start, steps).YAML()
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(out, "pretrain.yaml"), run)
}

func modelConfig(vocabulary int) []byte {
	content, err := json.MarshalIndent(map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu",
		"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4,
		"num_key_value_heads": 2, "head_dim": 32, "vocab_size": vocabulary, "max_position_embeddings": 256,
		"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
		"bos_token_id": seedling.BOSID, "eos_token_id": seedling.EOSID, "pad_token_id": seedling.UnknownID,
		"attention_bias": false, "mlp_bias": false,
	}, "", " ")
	if err != nil {
		panic(err) // plain values always encode
	}
	return append(content, '\n')
}

func writeRows(world *seedling.World, t *tokenizer.Tokenizer, path string, count int) error {
	encode := func(text string) []int {
		ids, err := t.Encode(text, false)
		if err != nil {
			panic(err) // the corpus has no NUL
		}
		list := make([]int, len(ids))
		for i, id := range ids {
			list[i] = int(id)
		}
		return list
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		return world.WriteRows(w, encode, seed, count, length)
	})
}

func runConfig(out, start string, steps int) configs.Run {
	run := configs.Defaults()
	run.Model, run.Output, run.Init = start, filepath.Join(out, "run"), configs.InitRandom
	run.Adapter.Kind, run.Adapter.Dropout = configs.Full, 0
	run.Data.Train, run.Data.Cutoff = []string{filepath.Join(out, "corpus.jsonl")}, length
	run.Data.Shuffle, run.Data.GroupByLength = false, false
	run.Training.Steps, run.Training.Batch, run.Training.MicroBatch = steps, batch, batch
	run.Training.LearningRate, run.Training.WarmupSteps = 3e-3, 100
	run.Training.Betas = [2]float64{0.9, 0.98}
	run.Training.DType, run.Training.GradientCheckpointing = "float32", false
	run.Training.Seed = seed
	run.Training.CheckpointEvery = 0
	return run
}

// writeRecords writes the tasks in the layout of the benchmarks.
func writeRecords(out string) error {
	for _, t := range seedling.NewWorld().Tasks() {
		if err := os.MkdirAll(filepath.Join(out, t.Name), 0o755); err != nil {
			return err
		}
		content, err := json.MarshalIndent(t.Test, "", " ")
		if err != nil {
			return err
		}
		if err := atomicfile.WriteBytes(filepath.Join(out, t.Name, "test.json"), content); err != nil {
			return err
		}
	}
	return nil
}
