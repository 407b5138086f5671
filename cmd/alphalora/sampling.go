package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"alphalora/eval"
	"alphalora/internal/fault"
	"alphalora/model/generate"
	"alphalora/model/tokenizer"
)

// sampling holds the flags that say how a prompt is continued.
type sampling struct {
	options generate.Options
	over    string
}

// addSampling gives cmd those flags; limit is the usual most of new tokens.
func addSampling(cmd *cobra.Command, limit int, temperature float64) *sampling {
	s := &sampling{}
	f, o := cmd.Flags(), &s.options
	f.IntVar(&o.MaxNewTokens, "max-new-tokens", limit, "most tokens of one output")
	f.Float64Var(&o.Temperature, "temperature", temperature, "divides the scores before a token is drawn; 0 takes the likeliest token")
	f.IntVar(&o.TopK, "top-k", 0, "draw among the `K` likeliest tokens (0: all)")
	f.Float64Var(&o.TopP, "top-p", 1, "draw among the fewest tokens that hold this share of the probability")
	f.Float64Var(&o.MinP, "min-p", 0, "draw among tokens at least this times as likely as the likeliest")
	f.Float64Var(&o.RepetitionPenalty, "repetition-penalty", 1, "divides the scores of tokens that were there before (1: none)")
	f.Uint64Var(&o.Seed, "seed", 0, "of the draws: the same seed, the same output")
	f.StringArrayVar(&o.Stops, "stop", nil, "end the output before this `TEXT` (may be given several times)")
	f.StringVar(&s.over, "over-context", "error", "what to do with a prompt that, with its new tokens, is longer than the model's context: error, truncate or allow")
	return s
}

// check refuses what a flag may not say, before any model is loaded. In
// [generate.Options] a zero leaves a part out; a flag says so by its neutral value.
func (s *sampling) check() error {
	for _, flag := range []struct {
		name  string
		value float64
	}{{"top-p", s.options.TopP}, {"repetition-penalty", s.options.RepetitionPenalty}} {
		if flag.value == 0 {
			return fault.Input("--"+flag.name+" 0", "1 leaves it out", "is not above 0")
		}
	}
	_, err := eval.ParsePolicy(s.over)
	return err
}

// prepare adds what the model knows: its end tokens, and its text where there is a
// tokenizer. Prompts of token ids work without one.
func (s *sampling) prepare(l *loaded, ids bool) (bos int32, err error) {
	if _, err := os.Stat(filepath.Join(l.Dir, "tokenizer.json")); ids && errors.Is(err, fs.ErrNotExist) {
		stated, err := tokenizer.ReadStated(l.Dir, l.Vocabulary)
		s.options.Ends = stated.Ends
		return stated.BOS, err
	}
	t, err := l.text()
	if err != nil {
		return 0, err
	}
	s.options.Ends = t.EOSList()
	s.options.Text = func() generate.TextStream { return t.NewStream(true) }
	if id, ok := t.BOS(); ok {
		return id, nil
	}
	return -1, nil
}

// fit holds prompts, with their new tokens, against the model's context, in place.
func (s *sampling) fit(a *app, prompts [][]int32, context int, bos int32) error {
	limit, over := s.options.MaxNewTokens, 0
	for i, p := range prompts {
		if len(p)+limit <= context {
			continue
		}
		over++
		what := fmt.Sprintf("prompt %d", i+1)
		switch eval.Policy(s.over) {
		case eval.Refuse:
			return fault.Input(what, "use fewer --max-new-tokens, or --over-context truncate or allow",
				"its %d tokens and %d new ones are more than the model's context of %d", len(p), limit, context)
		case eval.Truncate:
			if limit >= context {
				return fault.Input(fmt.Sprintf("--max-new-tokens %d", limit), "use fewer", "leaves no room for %s in the model's context of %d", what, context)
			}
			prompts[i] = generate.Shorten(p, context-limit, bos)
		}
	}
	if over > 0 {
		a.say("warning: %d prompts and their new tokens are longer than the model's context of %d tokens (--over-context %s)", over, context, s.over)
	}
	return nil
}
