package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/spf13/cobra"

	"alphalora/internal/atomicfile"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/quant"
	"alphalora/model/weights"
	"alphalora/moelora"
)

// merged is the JSON of the verb merge.
type merged struct {
	Out     string   `json:"out"`
	DType   string   `json:"dtype"`
	Tensors int      `json:"tensors"`  // of the checkpoint
	LeftOut []string `json:"left_out"` // files of the base's directory that were not copied

	Compared     string   `json:"compared"`         // the number format of the comparison; "none"
	Tokens       int      `json:"tokens,omitempty"` // that were scored
	Change       *float64 `json:"max_logit_change"` // the largest, base with adapter against merged; null: not compared
	Largest      float64  `json:"max_logit,omitempty"`
	OtherChoices int      `json:"other_choices"` // positions whose likeliest next token is another one
}

// withoutComparison is the value of --compare that leaves it out.
const withoutComparison = "none"

func mergeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "merge --model MODEL --adapter DIR --out MODELDIR",
		Short: "write a model with an adapter's change in its weights",
		Long: `merge writes the base model anew with W + scale·B·A in place of each adapted weight, summed
in float32 and rounded once. That is possible where each layer has one expert or none: a router
chooses for each token, which no matrix does. Other tensors stay byte for byte, shards too.

Then it scores 64 fixed tokens with the base and its adapter, and with the merged model, and
tells by how much the logits differ.`,
		Args:    cobra.NoArgs,
		Example: "  alphalora merge --model models/mistral-7b --adapter runs/lora/adapter --out models/mistral-7b-merged",
	}
	f := cmd.Flags()
	s := &subject{batch: 1}
	f.StringVar(&s.model, "model", "", "`DIR` of the base model in Hugging Face layout (required)")
	f.StringVar(&s.adapter, "adapter", "", "`DIR` of the adapter (required)")
	out := f.String("out", "", "`DIR` of the merged model (required)")
	dtype := f.String("dtype", model.FileDType, "number format of the merged weights: file (as the base has them), float32, bfloat16 or float16")
	f.StringVar(&s.dtype, "compare", "float32", "number format of the comparison: float32, bfloat16, float16, file, or none for no comparison")
	stored := f.String("model-quant", "none", "none: sums are not written into quantised weights")
	_ = f.MarkHidden("model-quant")
	jsonPath := addJSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if kind, err := quant.Parse(*stored); err != nil {
			return err
		} else if kind != quant.None {
			return fault.Input("--model-quant "+*stored, "leave it out: the adapter is merged into the full-precision base, which can then be loaded with --model-quant",
				"a sum is not written into quantised weights")
		}
		result, err := a.merge(cmd.Context(), s, *out, *dtype)
		if err != nil {
			return err
		}
		result.print(a.text(*jsonPath))
		return a.writeJSON(*jsonPath, result)
	}
	return cmd
}

func (a *app) merge(ctx context.Context, s *subject, out, dtype string) (*merged, error) {
	if err := vacant(out); err != nil {
		return nil, err
	}
	for flag, value := range map[string]string{"dtype": dtype, "compare": s.dtype} {
		if value == model.FileDType || (flag == "compare" && value == withoutComparison) {
			continue
		}
		if _, _, err := model.ParseDType(value); err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
	}
	_, adapter, err := describeAdapter(s.model, s.adapter)
	if err != nil {
		return nil, err
	}
	if err := adapter.CheckMergeable(); err != nil {
		return nil, err
	}
	before, err := a.fixedLogits(ctx, *s)
	if err != nil {
		return nil, err
	}
	result := &merged{Out: out, DType: dtype, Compared: s.dtype}
	err = atomicfile.Dir(out, func(dir string) error { return a.writeMerged(ctx, s.model, adapter, dir, result) })
	if err != nil {
		return nil, err
	}
	after, err := a.fixedLogits(ctx, subject{model: out, dtype: s.dtype, batch: 1})
	if err != nil {
		return nil, err
	}
	result.compare(before, after)
	return result, nil
}

func (a *app) writeMerged(ctx context.Context, base string, adapter *moelora.Adapter, dir string, r *merged) error {
	wanted := slices.DeleteFunc(adapter.Specs(), func(s weights.Spec) bool { return s.Optional })
	p := a.progress(len(wanted), "merging")
	err := adapter.Merge(ctx, base, dir, r.DType, func(string) { r.Tensors++; p.Add(1, "") })
	if err != nil {
		return err
	}
	p.Done()
	r.LeftOut, err = moelora.CopyConfiguration(base, dir, r.DType)
	return err
}

// logits are the scores [tokens, vocabulary] of fixed tokens.
type logits struct {
	tokens int
	values []float32
}

// comparedTokens is the number of tokens that the comparison scores.
const comparedTokens = 64

// fixedLogits scores tokens spread over the vocabulary; nil where nothing is compared.
func (a *app) fixedLogits(ctx context.Context, s subject) (*logits, error) {
	if s.dtype == withoutComparison {
		return nil, nil
	}
	l, err := a.load(ctx, &s)
	if err != nil {
		return nil, err
	}
	defer l.close()
	ids := make([]int32, min(comparedTokens, l.Context))
	for i := range ids {
		_, part := math.Modf(float64(i) * math.Phi)
		ids[i] = int32(part * float64(l.Vocabulary))
	}
	scores, err := l.generator.Logits(ids)
	if err != nil {
		return nil, err
	}
	values, err := tensors.CopyFlatData[float32](scores.Vocabulary)
	return &logits{len(ids), values}, err
}

// compare notes by how much the logits differ.
func (r *merged) compare(before, after *logits) {
	if before == nil {
		return
	}
	r.Tokens, r.Change = before.tokens, new(float64)
	width := len(before.values) / before.tokens
	for row := range before.tokens {
		from, to := row*width, (row+1)*width
		if first(before.values[from:to]) != first(after.values[from:to]) {
			r.OtherChoices++
		}
		for i, v := range before.values[from:to] {
			*r.Change = max(*r.Change, math.Abs(float64(v)-float64(after.values[from+i])))
			r.Largest = max(r.Largest, math.Abs(float64(v)))
		}
	}
}

// first is the place of the largest value, the first of equal ones.
func first(values []float32) int {
	best := 0
	for i, v := range values {
		if v > values[best] {
			best = i
		}
	}
	return best
}

func (r *merged) print(w io.Writer) {
	_, _ = fmt.Fprintf(w, "%s: %d tensors, dtype %s\n", r.Out, r.Tensors, r.DType)
	if len(r.LeftOut) > 0 {
		_, _ = fmt.Fprintf(w, "not copied: %s\n", listed(r.LeftOut))
	}
	if r.Change == nil {
		_, _ = fmt.Fprintln(w, "not compared")
		return
	}
	_, _ = fmt.Fprintf(w, "largest change of a logit: %.3g over %d tokens (logits reach %.3g; %d other first choices), computed in %s\n",
		*r.Change, r.Tokens, r.Largest, r.OtherChoices, r.Compared)
}
