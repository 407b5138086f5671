package eval

import (
	"context"
	"slices"

	"alphalora/model/generate"
	"alphalora/model/tokenizer"
)

// Local answers with a model on this machine. It implements [Generator], [Scorer] and
// [Counter].
type Local struct {
	Generator *generate.Generator
	Tokenizer *tokenizer.Tokenizer
	Positions int // the model's stated context
}

// Generate implements [Generator]: greedy, cut at the earliest stop text.
func (l *Local) Generate(ctx context.Context, prompts []string, o GenerateOptions) ([]Output, error) {
	ids := make([][]int32, len(prompts))
	for i, p := range prompts {
		var err error
		if ids[i], err = l.Tokenizer.Encode(p, true); err != nil {
			return nil, err
		}
	}
	done, err := l.Generator.Greedy(ctx, ids, o.MaxNewTokens, l.Tokenizer.EOSList(), nil)
	if err != nil {
		return nil, err
	}
	outputs := make([]Output, len(prompts))
	for i, d := range done {
		text, err := l.Tokenizer.Decode(d.IDs, true)
		if err != nil {
			return nil, err
		}
		outputs[i] = Output{Text: text, Tokens: len(d.IDs), Finish: d.Finish, PromptTokens: len(ids[i])}
		if cut, found := generate.CutAtStop(text, o.Stop); found {
			outputs[i].Text, outputs[i].Finish = cut, generate.Stopped
		}
	}
	return outputs, nil
}

// LogLikelihood implements [Scorer]. A prompt and its continuation are encoded as one
// text; the continuation's tokens are those behind the prompt's own encoding, as in
// training. Continuations that differ in their last token alone share one pass.
func (l *Local) LogLikelihood(ctx context.Context, prompts []string, continuations [][]string) ([][]Score, error) {
	scores := make([][]Score, len(prompts))
	work := &scoring{scores: scores}
	for i, prompt := range prompts {
		head, err := l.Tokenizer.Encode(prompt, true)
		if err != nil {
			return nil, err
		}
		encoded := make([][]int32, len(continuations[i]))
		for j, c := range continuations[i] {
			if encoded[j], err = l.Tokenizer.Encode(prompt+c, true); err != nil {
				return nil, err
			}
		}
		scores[i] = make([]Score, len(encoded))
		work.add(i, len(head), encoded)
	}
	return scores, work.run(ctx, l.Generator)
}

// scoring collects the passes that a batch of prompts needs.
type scoring struct {
	scores [][]Score
	whole  []pass    // scored token by token
	lasts  [][]int32 // sequences whose continuation by one token is asked
	asked  []question
}

// pass is a sequence of which the tokens from head on are scored, for some candidates.
type pass struct {
	ids        []int32
	head       int
	prompt     int
	candidates []int
}

// question asks for the last token of each candidate of a prompt.
type question struct {
	prompt int
	last   []int32
}

func (w *scoring) add(prompt, head int, encoded [][]int32) {
	if !differInLast(encoded) {
		for j, ids := range encoded {
			w.whole = append(w.whole, pass{ids, min(head, len(ids)-1), prompt, []int{j}})
		}
		return
	}
	q := question{prompt: prompt}
	shared := pass{prompt: prompt, ids: encoded[0][:len(encoded[0])-1]}
	shared.head = min(head, len(shared.ids))
	for j, ids := range encoded {
		q.last = append(q.last, ids[len(ids)-1])
		shared.candidates = append(shared.candidates, j)
	}
	w.whole, w.lasts, w.asked = append(w.whole, shared), append(w.lasts, shared.ids), append(w.asked, q)
}

// differInLast tells whether there are several sequences, equal but for their last token.
func differInLast(encoded [][]int32) bool {
	if len(encoded) < 2 || len(encoded[0]) < 2 {
		return false
	}
	for _, ids := range encoded[1:] {
		if len(ids) != len(encoded[0]) || !slices.Equal(ids[:len(ids)-1], encoded[0][:len(ids)-1]) {
			return false
		}
	}
	return true
}

func (w *scoring) run(ctx context.Context, g *generate.Generator) error {
	sequences := make([][]int32, len(w.whole))
	for i, p := range w.whole {
		sequences[i] = p.ids
	}
	logprobs, err := g.LogProbs(ctx, sequences, nil)
	if err != nil {
		return err
	}
	for i, p := range w.whole {
		for _, v := range logprobs[i][p.head-1:] { // logprobs[k] is the score of token k+1
			for _, j := range p.candidates {
				w.scores[p.prompt][j].LogProb += v
				w.scores[p.prompt][j].Tokens++
			}
		}
	}
	next, err := g.Next(ctx, w.lasts)
	if err != nil {
		return err
	}
	for i, q := range w.asked {
		for j, id := range q.last {
			w.scores[q.prompt][j].LogProb += float64(next[i][id])
			w.scores[q.prompt][j].Tokens++
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
