package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/spf13/cobra"

	"alphalora/internal/fault"
	"alphalora/model/weights"
)

// scored is the JSON of the verb score.
type scored struct {
	Sequences  []scoredSequence `json:"sequences"`
	Loss       float64          `json:"loss"`       // mean over all tokens but each first
	Perplexity float64          `json:"perplexity"` // e^loss
}

type scoredSequence struct {
	Tokens   int        `json:"tokens"`
	Loss     float64    `json:"loss"`
	LogProbs []*float64 `json:"logprobs"` // of each token given those before; null for the first
}

func scoreCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "score --model MODEL (--ids F.json | --text F)",
		Short: "tell how likely a model finds a text",
		Long: `score gives the log-probability of every token given those before it, and the loss and
perplexity over them. The text of --text is one sequence, encoded with the tokenizer's
special tokens.`,
		Args:    cobra.NoArgs,
		Example: "  alphalora score --model models/mistral-7b --text sample.txt --json -",
	}
	s := addSubject(cmd, "top-k")
	addDevices(cmd, s)
	jsonPath := addJSON(cmd)
	ids := cmd.Flags().String("ids", "", "JSON `FILE` with a list of token-id lists")
	text := cmd.Flags().String("text", "", "text `FILE`")
	logits := cmd.Flags().String("logits", "", "write the scores of all tokens, and the routers', to a safetensors `FILE`")
	cmd.MarkFlagsMutuallyExclusive("ids", "text")
	cmd.MarkFlagsOneRequired("ids", "text")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := a.load(cmd.Context(), s)
		if err != nil {
			return err
		}
		defer l.close()
		sequences, err := l.sequences(*ids, *text)
		if err != nil {
			return err
		}
		result, err := l.score(cmd.Context(), sequences)
		if err != nil {
			return err
		}
		if *logits != "" {
			if err := l.writeLogits(cmd.Context(), *logits, sequences); err != nil {
				return err
			}
		}
		_, _ = fmt.Fprintf(a.text(*jsonPath), "loss %.4f, perplexity %.4f over %d sequences\n", result.Loss, result.Perplexity, len(result.Sequences))
		return a.writeJSON(*jsonPath, result)
	}
	return cmd
}

func (l *loaded) sequences(ids, text string) ([][]int32, error) {
	if ids != "" {
		return readIDs(ids)
	}
	data, err := os.ReadFile(text)
	if err != nil {
		return nil, fault.Input(text, "name a text file", "cannot be read: %v", fault.Reason(err))
	}
	t, err := l.text()
	if err != nil {
		return nil, err
	}
	encoded, err := t.Encode(string(data), true)
	return [][]int32{encoded}, err
}

func (l *loaded) score(ctx context.Context, sequences [][]int32) (scored, error) {
	logprobs, err := l.generator.LogProbs(ctx, sequences, nil)
	if err != nil {
		return scored{}, err
	}
	var result scored
	sum, count := 0.0, 0
	for i, list := range logprobs {
		row := scoredSequence{Tokens: len(sequences[i]), LogProbs: make([]*float64, 1, len(list)+1)}
		for _, v := range list {
			row.LogProbs = append(row.LogProbs, &v)
			row.Loss -= v
		}
		sum, count = sum+row.Loss, count+len(list)
		row.Loss /= float64(max(len(list), 1))
		result.Sequences = append(result.Sequences, row)
	}
	if count == 0 {
		return result, fault.Input("sequences", "give at least two tokens", "hold no token that follows another")
	}
	result.Loss = sum / float64(count)
	result.Perplexity = math.Exp(result.Loss)
	return result, nil
}

// writeLogits writes logits.N [tokens, V] and router_logits.N.LAYER.SITE [tokens, E].
func (l *loaded) writeLogits(ctx context.Context, path string, sequences [][]int32) error {
	var list []weights.Tensor
	add := func(name string, t *tensors.Tensor) error {
		values, err := tensors.CopyFlatData[float32](t)
		if err != nil {
			return err
		}
		w, err := weights.FromFloat32s(name, t.Shape().Dimensions, values, weights.F32)
		list = append(list, w)
		return err
	}
	for i, ids := range sequences {
		if err := ctx.Err(); err != nil {
			return err
		}
		scores, err := l.generator.Logits(ids)
		if err != nil {
			return err
		}
		if err := add(fmt.Sprintf("logits.%d", i), scores.Vocabulary); err != nil {
			return err
		}
		for name, t := range scores.Routers {
			if err := add(strings.Join([]string{"router_logits", fmt.Sprint(i), name}, "."), t); err != nil {
				return err
			}
		}
	}
	return weights.Write(path, list, nil)
}
