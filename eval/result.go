package eval

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"alphalora/eval/benchmark"
	"alphalora/internal/atomicfile"
	"alphalora/internal/fault"
)

// Mode is how answers are got.
type Mode string

// The modes. In the last, a choice's log-probability is divided by its number of tokens.
const (
	ModeGeneration           Mode = "generation" // what the model writes; also the empty value
	ModeLikelihood           Mode = "likelihood" // the likeliest choice
	ModeLikelihoodNormalised Mode = "likelihood-normalised"
)

// ParseMode reads a mode's name; the empty name is [ModeGeneration].
func ParseMode(name string) (Mode, error) {
	switch m := Mode(name); m {
	case "":
		return ModeGeneration, nil
	case ModeGeneration, ModeLikelihood, ModeLikelihoodNormalised:
		return m, nil
	}
	return "", fault.Input(fmt.Sprintf("mode %q", name), "choose generation, likelihood or likelihood-normalised", "is not known")
}

// Result is a score.
type Result struct {
	Benchmark      string             `json:"benchmark"`
	Split          string             `json:"split"`
	Items          int                `json:"items"`
	Correct        int                `json:"correct"`
	Accuracy       float64            `json:"accuracy"` // Correct / Items
	CI95           [2]float64         `json:"ci95"`     // see [Wilson]
	Interval       string             `json:"interval"` // "wilson"
	Unparsed       int                `json:"unparsed"` // answers that could not be read; none of them is correct
	UnparsedItems  []int              `json:"unparsed_items"`
	Majority       *float64           `json:"majority,omitempty"` // the share of the commonest gold
	MajorityAnswer string             `json:"majority_answer,omitempty"`
	OverContext    int                `json:"over_context"`
	Mode           Mode               `json:"mode"`
	AnswerRule     string             `json:"answer_rule,omitempty"`
	MaxNewTokens   int                `json:"max_new_tokens,omitempty"`
	Prompt         benchmark.Template `json:"prompt"`
	PromptSHA256   string             `json:"prompt_sha256"` // see [benchmark.PromptHash]
	Outcomes       string             `json:"outcomes"`      // one letter an item, in order: see [Sample.outcome]
	Seconds        float64            `json:"seconds"`       // of the items asked now, compilation and all
	ItemsPerSecond float64            `json:"items_per_second"`
	Resumed        int                `json:"resumed,omitempty"` // items of an earlier run
	Samples        []Sample           `json:"-"`
}

// Sample is one item's answer.
type Sample struct {
	Benchmark    string    `json:"benchmark"`
	Index        int       `json:"index"`
	Prompt       string    `json:"prompt"`
	Output       string    `json:"output"`
	Prediction   string    `json:"prediction"` // empty where the answer could not be read
	Gold         string    `json:"gold"`
	Correct      bool      `json:"correct"`
	Unparsed     bool      `json:"unparsed"`
	Finish       string    `json:"finish_reason,omitempty"`
	Tokens       int       `json:"tokens,omitempty"`
	PromptTokens int       `json:"prompt_tokens,omitempty"`
	LogProbs     []float64 `json:"logprobs,omitempty"`      // by likelihood: of each choice, summed over its tokens
	ChoiceTokens []int     `json:"choice_tokens,omitempty"` // by likelihood: of each choice
}

// outcome is c for a correct answer, w for a wrong one, u for one that could not be read.
func (s Sample) outcome() byte {
	switch {
	case s.Correct:
		return 'c'
	case s.Unparsed:
		return 'u'
	}
	return 'w'
}

// Report is the JSON of the verb eval. The caller adds what only it knows.
type Report struct {
	Model    string   `json:"model,omitempty"`
	Adapter  string   `json:"adapter,omitempty"`
	Engine   string   `json:"engine,omitempty"`
	DType    string   `json:"dtype,omitempty"`
	Batch    int      `json:"batch,omitempty"`
	Decoding string   `json:"decoding,omitempty"` // "greedy": nothing is drawn, so the seed changes nothing
	Seed     int64    `json:"seed"`
	Program  string   `json:"program,omitempty"` // its version
	Results  []Result `json:"results"`
}

func newSample(b benchmark.Benchmark, it benchmark.Item) Sample {
	return Sample{Benchmark: b.Name, Index: it.Index, Prompt: it.Prompt, Gold: string(it.Gold)}
}

func newResult(b benchmark.Benchmark, items []benchmark.Item, samples []Sample, opt Options, over int) Result {
	prompt := opt.Prompt
	if prompt == "" {
		prompt = benchmark.Alpaca
	}
	r := Result{Benchmark: b.Name, Split: opt.Split, Items: len(items), OverContext: over, Interval: "wilson", UnparsedItems: []int{},
		Prompt: prompt, PromptSHA256: benchmark.PromptHash(items), Samples: samples}
	r.Majority, r.MajorityAnswer = majority(items)
	outcomes := make([]byte, len(samples))
	for i, s := range samples {
		outcomes[i] = s.outcome()
		if s.Correct {
			r.Correct++
		}
		if s.Unparsed {
			r.Unparsed++
			r.UnparsedItems = append(r.UnparsedItems, s.Index)
		}
	}
	r.Outcomes = string(outcomes)
	r.Accuracy = float64(r.Correct) / float64(r.Items)
	r.CI95[0], r.CI95[1] = Wilson(r.Correct, r.Items)
	return r
}

// timed notes how long the items that were asked took.
func (r *Result) timed(begun time.Time, asked int) {
	r.Seconds, r.Resumed = time.Since(begun).Seconds(), r.Items-asked
	r.ItemsPerSecond = float64(asked) / max(r.Seconds, 1e-9)
}

// majority is the share of the commonest gold answer, and that answer, the first in the
// alphabet of equals; nil where answers are not chosen among a few.
func majority(items []benchmark.Item) (*float64, string) {
	counts := map[benchmark.Answer]int{}
	var most benchmark.Answer
	for _, it := range items {
		if len(it.Choices) == 0 {
			return nil, ""
		}
		counts[it.Gold]++
	}
	for _, answer := range slices.Sorted(maps.Keys(counts)) {
		if counts[answer] > counts[most] {
			most = answer
		}
	}
	share := float64(counts[most]) / float64(len(items))
	return &share, string(most)
}

// z95 is the 0.975 quantile of the normal distribution.
const z95 = 1.959963984540054

// Wilson is the 95 % interval of Wilson (1927) for correct of items, items > 0:
//
//	(p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n),  p = correct/items, z = 1.95996
func Wilson(correct, items int) (low, high float64) {
	const z = z95
	n := float64(items)
	p := float64(correct) / n
	middle := p + z*z/(2*n)
	half := z * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	scale := 1 + z*z/n
	return max(0, (middle-half)/scale), min(1, (middle+half)/scale)
}

// WriteSamples writes one JSON object a line, all of them or no file. It fails
// where path cannot be written.
func WriteSamples(path string, results []Result) error {
	return atomicfile.Write(path, func(w io.Writer) error {
		line := json.NewEncoder(w)
		line.SetEscapeHTML(false)
		for _, r := range results {
			for _, s := range r.Samples {
				if err := line.Encode(s); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
