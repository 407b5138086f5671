package eval

import (
	"context"
	"fmt"
	"math"

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
	bySum, byMean := make([]Sample, len(items)), make([]Sample, len(items))
	err = inBatches(ctx, items, opt, func(batch []int) error {
		candidates := make([][]string, len(batch))
		for i, at := range batch {
			if candidates[i] = items[at].Candidates; len(candidates[i]) == 0 {
				return fault.Input(b.Name, "evaluate it by generation", "has no choices to compare by likelihood")
			}
		}
		scores, err := sc.LogLikelihood(ctx, promptsOf(items, batch), candidates)
		if err != nil {
			return err
		}
		if err := checkScores(b.Name, scores, candidates); err != nil {
			return err
		}
		for i, at := range batch {
			bySum[at] = chosen(b, items[at], scores[i], func(s Score) float64 { return s.LogProb })
			byMean[at] = chosen(b, items[at], scores[i], func(s Score) float64 { return s.LogProb / float64(s.Tokens) })
		}
		return nil
	})
	if err != nil {
		return plain, perToken, err
	}
	plain = newResult(b, items, bySum, opt.Split, over)
	perToken = newResult(b, items, byMean, opt.Split, over)
	plain.Mode, perToken.Mode = ModeLikelihood, ModeLikelihoodLength
	return plain, perToken, nil
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

// chosen is the sample of the choice with the greatest value.
func chosen(b benchmark.Benchmark, it benchmark.Item, scores []Score, value func(Score) float64) Sample {
	s := newSample(b, it)
	best, ties := 0, 0
	for i, score := range scores {
		v := value(score)
		s.LogProbs = append(s.LogProbs, v)
		switch {
		case v > s.LogProbs[best]:
			best, ties = i, 0
		case v == s.LogProbs[best] && i != best:
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
