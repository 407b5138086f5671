package generate

import (
	"fmt"
	"math"
	"unicode/utf8"

	"alphalora/internal/fault"
)

// Options say how prompts are continued. The zero value of every field but MaxNewTokens
// is a valid one, and leaves its part out.
type Options struct {
	MaxNewTokens int // most tokens of one output, 1 to [MaxNew]

	// Temperature divides the scores before the draw; 0 takes the likeliest token, and
	// then TopK, TopP, MinP and Seed, which never remove that one, change nothing.
	Temperature float64
	TopK        int     // draw among the k likeliest; 0: all
	TopP        float64 // draw among the fewest tokens that hold this share of the probability, in (0, 1]; 0 or 1: all
	MinP        float64 // draw among tokens at least this times as likely as the likeliest, 0 to 1; 0: all
	// RepetitionPenalty divides positive scores, and multiplies negative ones, of tokens
	// that the prompt or the output has; 0 or 1: none. It holds at temperature 0 too.
	RepetitionPenalty float64
	// Seed of the draws. The draw of a token depends on the seed, the prompt's place in
	// the list and the token's place in the output alone.
	Seed uint64

	Ends  []int32  // tokens that end an output
	Stops []string // texts that end an output; they need Text

	// Text makes a stream that turns the ids of one output into text; nil: no text.
	Text func() TextStream
	// Emit, where not nil, is given each prompt's text as it comes, in pieces of whole
	// characters, which joined are the output's text; it needs Text. An error ends the work.
	Emit func(prompt int, piece string) error
	// Progress, where not nil, is told how many prompts are done.
	Progress func(done int)
}

// TextStream turns tokens into text one after the other.
type TextStream interface {
	// Next returns the text that is complete with this token: whole characters, and "" if none.
	Next(id int32) (string, error)
	// Flush returns what is left when the last token has come.
	Flush() (string, error)
}

// MaxNew bounds MaxNewTokens.
const MaxNew = 1 << 20

// lowest and highest temperature: beyond them, scores divided by it leave float32.
const (
	lowest  = 1e-6
	highest = 1e6
)

func (o *Options) check(vocabulary int) error {
	switch {
	case o.MaxNewTokens < 1 || o.MaxNewTokens > MaxNew:
		return fault.Input("max-new-tokens", fmt.Sprintf("use 1 to %d", MaxNew), "is %d", o.MaxNewTokens)
	case o.Temperature != 0 && !(o.Temperature >= lowest && o.Temperature <= highest):
		return fault.Input("temperature", "use 0, the likeliest token, or 1e-6 to 1e6", "is %v", o.Temperature)
	case o.TopK < 0:
		return fault.Input("top-k", "use 1 or more, or 0 for all tokens", "is %d", o.TopK)
	case !(o.TopP >= 0 && o.TopP <= 1):
		return fault.Input("top-p", "use a number above 0, up to 1 for all tokens", "is %v", o.TopP)
	case !(o.MinP >= 0 && o.MinP <= 1):
		return fault.Input("min-p", "use a number from 0, for all tokens, to 1", "is %v", o.MinP)
	case !(o.RepetitionPenalty >= 0 && o.RepetitionPenalty <= math.MaxFloat32) || o.RepetitionPenalty > 0 && o.RepetitionPenalty < lowest:
		return fault.Input("repetition-penalty", "use a number above 0; 1 is none", "is %v", o.RepetitionPenalty)
	case o.Text == nil && (len(o.Stops) > 0 || o.Emit != nil):
		return fault.Input("stop", "use a model directory with a tokenizer", "stop texts and streaming need the text of the tokens")
	}
	for _, id := range o.Ends {
		if id < 0 || int(id) >= vocabulary {
			return fault.Input("end tokens", "use tokens of this model", "token %d is outside the vocabulary of %d", id, vocabulary)
		}
	}
	for _, s := range o.Stops {
		if s == "" || !utf8.ValidString(s) {
			return fault.Input("stop", "give some text in UTF-8", "%q is none", s)
		}
	}
	return nil
}

// Why an output ended.
const (
	Stopped = "stop"   // an end token or a stop text came
	AtLimit = "length" // neither did within the limit
)

// Output is what one prompt led to.
type Output struct {
	// IDs are the new tokens, the end token not among them. Where a stop text came they
	// are the tokens whose text ends before it: the token in which it begins, and those
	// after, are left out.
	IDs []int32
	// Text ends where the stop text begins, even inside a token that IDs leave out. It is
	// empty without [Options.Text].
	Text   string
	Finish string // [Stopped], [AtLimit], or empty where the work was cancelled
}
