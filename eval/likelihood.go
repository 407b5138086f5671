package eval

import (
	"context"
	"fmt"
	"math"
	"time"

	"alphalora/eval/benchmark"
	"alphalora/internal/fault"
)

// Scorer says how likely continuations are.
type Scorer interface {
	// LogLikelihood returns, for each prompt, one score for each of its
	// continuations, which follow the prompt directly.
	LogLikelihood(ctx context.Context, prompts []string, continuations [][]string) ([][]Score, error)
}

// Score is the natural logarithm of a continuation's probability after its prompt,
// summed over its tokens.
type Score struct {
	LogProb float64
	Tokens  int
}

// RunLikelihood answers each item with the choice whose full answer text is the
// likeliest: plain by the sum of its tokens' log-probabilities, perToken by their
// mean. Equal best scores are no answer. A benchmark without choices is bad input.
func RunLikelihood(ctx context.Context, sc Scorer, items []benchmark.Item, b benchmark.Benchmark, opt Options) (plain, perToken Result, err error) {
	items, over, err := fit(items, b, opt)
	if err != nil {
		return plain, perToken, err
	}
	done, todo, err := resumed(items, opt.Done)
	if err != nil {
		return plain, perToken, err
	}
	scores, err := scoresOf(items, done)
	if err != nil {
		return plain, perToken, err
	}
	begun := time.Now()
	err = inBatches(ctx, items, todo, opt, func(batch []int) error {
		fresh, err := score(ctx, sc, items, b, batch, scores, opt.PerToken)
		if err != nil {
			return err
		}
		return opt.record(fresh)
	})
	if err != nil {
		return plain, perToken, err
	}
	result := func(mode Mode) Result {
		samples := make([]Sample, len(items))
		for at, it := range items {
			samples[at] = chosen(b, it, scores[at], mode == ModeLikelihoodNormalised)
		}
		r := newResult(b, items, samples, opt, over)
		r.Mode = mode
		r.timed(begun, len(todo))
		return r
	}
	return result(ModeLikelihood), result(ModeLikelihoodNormalised), nil
}

// scoresOf are the scores of the items that an earlier run answered.
func scoresOf(items []benchmark.Item, done []Sample) ([][]Score, error) {
	scores := make([][]Score, len(items))
	for at, s := range done {
		for j, v := range s.LogProbs {
			scores[at] = append(scores[at], Score{v, s.ChoiceTokens[j]})
		}
		if s.Prompt != "" && len(scores[at]) != len(items[at].Candidates) {
			return nil, fault.Input(fmt.Sprintf("%s: record %d", s.Benchmark, items[at].Index+1), "remove the samples to begin anew",
				"was answered among %d choices, and has %d", len(scores[at]), len(items[at].Candidates))
		}
	}
	return scores, nil
}

// score fills in the scores of a batch of items.
func score(ctx context.Context, sc Scorer, items []benchmark.Item, b benchmark.Benchmark, batch []int, scores [][]Score, perToken bool) ([]Sample, error) {
	candidates := make([][]string, len(batch))
	for i, at := range batch {
		if candidates[i] = items[at].Candidates; len(candidates[i]) == 0 {
			return nil, fault.Input(b.Name, "evaluate it by generation", "has no choices to compare by likelihood")
		}
	}
	got, err := sc.LogLikelihood(ctx, promptsOf(items, batch), candidates)
	if err != nil {
		return nil, err
	}
	if err := checkScores(b.Name, got, candidates); err != nil {
		return nil, err
	}
	fresh := make([]Sample, len(batch))
	for i, at := range batch {
		scores[at] = got[i]
		fresh[i] = chosen(b, items[at], got[i], perToken)
	}
	return fresh, nil
}

// checkScores refuses what cannot be compared.
func checkScores(name string, scores [][]Score, candidates [][]string) error {
	if len(scores) != len(candidates) {
		return fmt.Errorf("%s: the scorer gave %d lists of scores for %d prompts", name, len(scores), len(candidates))
	}
	for i, row := range scores {
		if len(row) != len(candidates[i]) {
			return fmt.Errorf("%s: the scorer gave %d scores for %d continuations", name, len(row), len(candidates[i]))
		}
		for j, s := range row {
			if s.Tokens < 1 || math.IsNaN(s.LogProb) || math.IsInf(s.LogProb, 0) {
				return fmt.Errorf("%s: the score of %q is %v over %d tokens", name, candidates[i][j], s.LogProb, s.Tokens)
			}
		}
	}
	return nil
}

// chosen is the sample of the choice with the greatest log-probability, or the greatest
// per token.
func chosen(b benchmark.Benchmark, it benchmark.Item, scores []Score, perToken bool) Sample {
	s := newSample(b, it)
	values := make([]float64, len(scores))
	best, ties := 0, 0
	for i, score := range scores {
		s.LogProbs, s.ChoiceTokens = append(s.LogProbs, score.LogProb), append(s.ChoiceTokens, score.Tokens)
		if values[i] = score.LogProb; perToken {
			values[i] /= float64(score.Tokens)
		}
		switch {
		case values[i] > values[best]:
			best, ties = i, 0
		case values[i] == values[best] && i != best:
			ties++
		}
	}
	if s.Unparsed = ties > 0; s.Unparsed {
		return s
	}
	s.Output, s.Prediction = it.Candidates[best], it.Choices[best]
	s.Correct = b.Format.Equal(benchmark.Answer(s.Prediction), it.Gold)
	return s
}
