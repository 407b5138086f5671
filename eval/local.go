package eval

import (
	"context"

	"alphalora/model/generate"
	"alphalora/model/tokenizer"
)

// Local answers with a model on this machine. It implements [Generator], [Scorer] and
// [Counter].
type Local struct {
	Generator *generate.Generator
	Tokenizer *tokenizer.Tokenizer
	Forks     *Forks // nil: continuations share nothing, each is a row
	Positions int    // the model's stated context
}

// Generate implements [Generator]: greedy, until the earliest stop text.
func (l *Local) Generate(ctx context.Context, prompts []string, o GenerateOptions) ([]Output, error) {
	ids := make([][]int32, len(prompts))
	for i, p := range prompts {
		var err error
		if ids[i], err = l.Tokenizer.Encode(p, true); err != nil {
			return nil, err
		}
	}
	options := generate.Options{MaxNewTokens: o.MaxNewTokens, Ends: l.Tokenizer.EOSList(), Stops: o.Stop}
	if len(o.Stop) > 0 { // text as it comes takes longer than that of a whole output
		options.Text = func() generate.TextStream { return l.Tokenizer.NewStream(true) }
	}
	done, err := l.Generator.Generate(ctx, ids, options)
	if err != nil {
		return nil, err
	}
	outputs := make([]Output, len(prompts))
	for i, d := range done {
		outputs[i] = Output{Text: d.Text, Tokens: len(d.IDs), Finish: d.Finish, PromptTokens: len(ids[i])}
		if options.Text != nil {
			continue
		}
		if outputs[i].Text, err = l.Tokenizer.Decode(d.IDs, true); err != nil {
			return nil, err
		}
	}
	return outputs, nil
}

// LogLikelihood implements [Scorer]. A prompt and its continuation are encoded as one
// text; the continuation's tokens are those behind the prompt's own encoding, as in
// training. With [Local.Forks], what the continuations of a prompt share is computed once.
func (l *Local) LogLikelihood(ctx context.Context, prompts []string, continuations [][]string) ([][]Score, error) {
	scores := make([][]Score, len(prompts))
	var forks []fork
	var rows []row
	for i, prompt := range prompts {
		head, encoded, err := l.encode(prompt, continuations[i])
		if err != nil {
			return nil, err
		}
		scores[i] = make([]Score, len(encoded))
		if l.Forks != nil && len(encoded) > 1 && !crosses(l.Forks.model.RopeBorder(), encoded) {
			forks = append(forks, newFork(i, head, encoded))
			continue
		}
		for j, ids := range encoded {
			rows = append(rows, row{ids, head, i, j})
		}
	}
	if err := l.scoreRows(ctx, rows, scores); err != nil || len(forks) == 0 {
		return scores, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return scores, l.Forks.score(forks, scores)
}

// encode returns the number of the prompt's tokens, and each continuation's sequence.
func (l *Local) encode(prompt string, continuations []string) (head int, sequences [][]int32, err error) {
	ids, err := l.Tokenizer.Encode(prompt, true)
	if err != nil {
		return 0, nil, err
	}
	shortest := len(ids)
	for _, c := range continuations {
		s, err := l.Tokenizer.Encode(prompt+c, true)
		if err != nil {
			return 0, nil, err
		}
		sequences, shortest = append(sequences, s), min(shortest, len(s)-1)
	}
	return max(shortest, 1), sequences, nil
}

// row is one candidate's whole sequence, of which the tokens from head on are scored.
type row struct {
	ids               []int32
	head              int
	prompt, candidate int
}

func (l *Local) scoreRows(ctx context.Context, rows []row, scores [][]Score) error {
	if len(rows) == 0 {
		return nil
	}
	sequences := make([][]int32, len(rows))
	for i, r := range rows {
		sequences[i] = r.ids
	}
	logprobs, err := l.Generator.LogProbs(ctx, sequences, nil)
	if err != nil {
		return err
	}
	for i, r := range rows {
		for _, v := range logprobs[i][r.head-1:] { // logprobs[k] is the score of token k+1
			scores[r.prompt][r.candidate].LogProb += v
			scores[r.prompt][r.candidate].Tokens++
		}
	}
	return nil
}

// CountTokens implements [Counter]. A text that cannot be encoded counts as nothing here:
// answering it is the error.
func (l *Local) CountTokens(text string) int {
	ids, err := l.Tokenizer.Encode(text, true)
	if err != nil {
		return 0
	}
	return len(ids)
}

// Context implements [Counter].
func (l *Local) Context() int { return l.Positions }
