package eval

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"math"

	"alphalora/eval/benchmark"
	"alphalora/internal/atomicfile"
)

// How a result's answers were got.
const (
	ModeGenerate         = "generate"
	ModeLikelihood       = "likelihood"
	ModeLikelihoodLength = "likelihood-per-token"
)

// Result is a score.
type Result struct {
	Benchmark    string     `json:"benchmark"`
	Split        string     `json:"split"`
	Items        int        `json:"items"`
	Correct      int        `json:"correct"`
	Accuracy     float64    `json:"accuracy"` // Correct / Items
	CI95         [2]float64 `json:"ci95"`     // see [Wilson]
	Unparsed     int        `json:"unparsed"` // answers that could not be read; none of them is correct
	Majority     *float64   `json:"majority,omitempty"`
	OverContext  int        `json:"over_context"`
	Mode         string     `json:"mode"`
	AnswerRule   string     `json:"answer_rule,omitempty"`
	PromptSHA256 string     `json:"prompt_sha256"` // of all prompts in order, a zero byte after each
	Samples      []Sample   `json:"-"`
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
	LogProbs     []float64 `json:"logprobs,omitempty"` // one a choice, by likelihood
}

// Report is the JSON of the verb eval. The caller adds what only it knows.
type Report struct {
	Model   string   `json:"model,omitempty"`
	Adapter string   `json:"adapter,omitempty"`
	Engine  string   `json:"engine,omitempty"`
	DType   string   `json:"dtype,omitempty"`
	Seed    int64    `json:"seed"`
	Results []Result `json:"results"`
}

func newSample(b benchmark.Benchmark, it benchmark.Item) Sample {
	return Sample{Benchmark: b.Name, Index: it.Index, Prompt: it.Prompt, Gold: string(it.Gold)}
}

func newResult(b benchmark.Benchmark, items []benchmark.Item, samples []Sample, split string, over int) Result {
	r := Result{Benchmark: b.Name, Split: split, Items: len(items), OverContext: over, Majority: majority(items),
		PromptSHA256: promptHash(items), Samples: samples}
	for _, s := range samples {
		if s.Correct {
			r.Correct++
		}
		if s.Unparsed {
			r.Unparsed++
		}
	}
	r.Accuracy = float64(r.Correct) / float64(r.Items)
	r.CI95[0], r.CI95[1] = Wilson(r.Correct, r.Items)
	return r
}

// majority is the share of the commonest gold answer; nil where answers are not
// chosen among a few.
func majority(items []benchmark.Item) *float64 {
	counts := map[benchmark.Answer]int{}
	most := 0
	for _, it := range items {
		if len(it.Choices) == 0 {
			return nil
		}
		counts[it.Gold]++
		most = max(most, counts[it.Gold])
	}
	share := float64(most) / float64(len(items))
	return &share
}

func promptHash(items []benchmark.Item) string {
	h := sha256.New()
	for _, it := range items {
		_, _ = io.WriteString(h, it.Prompt)
		_, _ = h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Wilson is the 95 % interval of Wilson (1927) for correct of items, items > 0:
//
//	(p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n),  p = correct/items, z = 1.95996
func Wilson(correct, items int) (low, high float64) {
	const z = 1.959963984540054
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
