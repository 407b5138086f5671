package generate

import (
	"errors"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"alphalora/internal/fault"

	"github.com/stretchr/testify/require"
)

// pieces is a [TextStream] whose token i is the i-th of some byte strings; bytes that are
// no whole character wait for the next token.
type pieces struct {
	words []string
	held  string
}

func (p *pieces) Next(id int32) (string, error) {
	p.held += p.words[id]
	for n := len(p.held); n >= 0; n-- {
		if utf8.ValidString(p.held[:n]) {
			text := p.held[:n]
			p.held = p.held[n:]
			return text, nil
		}
	}
	return "", errors.New("unreachable: the empty text is valid")
}

func (p *pieces) Flush() (string, error) {
	text := strings.ToValidUTF8(p.held, "\uFFFD")
	p.held = ""
	return text, nil
}

// feed gives a row its tokens and returns the pieces that were emitted.
func feed(t *testing.T, words []string, o Options, ids ...int32) (*row, []string) {
	var emitted []string
	o.Text = func() TextStream { return &pieces{words: words} }
	o.Emit = func(_ int, piece string) error { emitted = append(emitted, piece); return nil }
	if o.MaxNewTokens == 0 {
		o.MaxNewTokens = len(ids)
	}
	require.NoError(t, o.check(len(words)))
	r := newRow(&o, 0, []int32{0}, len(words))
	for _, id := range ids {
		require.NoError(t, r.take(id))
	}
	require.True(t, r.done)
	require.Equal(t, r.output.Text, strings.Join(emitted, ""), "the pieces are the text")
	for _, p := range emitted {
		require.True(t, utf8.ValidString(p), "%q is not of whole characters", p)
	}
	return r, emitted
}

func TestStops(t *testing.T) {
	words := []string{"a", "b", " st", "op", "x stop y", "\xf0\x9f", "\x9a", "\x80", "", "</s>"}
	for name, c := range map[string]struct {
		stops  []string
		ends   []int32
		ids    []int32
		want   []int32
		text   string
		finish string
	}{
		"none":                       {nil, nil, []int32{0, 1}, []int32{0, 1}, "ab", AtLimit},
		"end token":                  {nil, []int32{9, 3}, []int32{0, 9, 1}, []int32{0}, "a", Stopped},
		"end token at once":          {nil, []int32{9}, []int32{9, 1}, nil, "", Stopped},
		"across tokens":              {[]string{"stop"}, nil, []int32{0, 2, 3, 1}, []int32{0}, "a ", Stopped},
		"inside one token":           {[]string{"stop"}, nil, []int32{0, 4, 1}, []int32{0}, "ax ", Stopped},
		"at once":                    {[]string{"a"}, nil, []int32{0, 1}, []int32{}, "", Stopped},
		"the first to be whole":      {[]string{"abz", "b"}, nil, []int32{0, 1, 0}, []int32{0}, "a", Stopped},
		"the earlier of two":         {[]string{"y", "x"}, nil, []int32{4, 1}, []int32{}, "", Stopped},
		"almost":                     {[]string{"stopped"}, nil, []int32{2, 3, 0}, []int32{2, 3, 0}, " stopa", AtLimit},
		"at the last token":          {[]string{"stop"}, nil, []int32{0, 2, 3}, []int32{0}, "a ", Stopped},
		"a character of many tokens": {[]string{"🚀"}, nil, []int32{0, 5, 6, 7, 1}, []int32{0}, "a", Stopped},
		"behind such a character":    {[]string{"b"}, nil, []int32{5, 6, 7, 1}, []int32{5, 6, 7}, "🚀", Stopped},
		"never whole":                {nil, nil, []int32{0, 5, 6}, []int32{0, 5, 6}, "a\uFFFD", AtLimit},
		"silent tokens":              {[]string{"b"}, nil, []int32{0, 8, 1}, []int32{0}, "a", Stopped},
		"in what is left":            {[]string{"\uFFFD"}, nil, []int32{0, 5}, []int32{0}, "a", Stopped},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := feed(t, words, Options{Stops: c.stops, Ends: c.ends}, c.ids...)
			require.Equal(t, c.want, r.output.IDs)
			require.Equal(t, c.text, r.output.Text)
			require.Equal(t, c.finish, r.output.Finish)
		})
	}
}

// TestEmitHoldsBackWhatMayBecomeAStop and no more than that.
func TestEmitHoldsBackWhatMayBecomeAStop(t *testing.T) {
	words := []string{"a", "\n", "#", " b"}
	_, emitted := feed(t, words, Options{Stops: []string{"\n##"}}, 0, 1, 3, 1, 2, 0)
	require.Equal(t, []string{"a", "\n b", "\n#a"}, emitted)
}

func TestErrorsOfTextEndTheWork(t *testing.T) {
	o := Options{MaxNewTokens: 2, Text: func() TextStream { return &pieces{words: []string{"a"}} }}
	o.Emit = func(int, string) error { return errors.New("the pipe is closed") }
	require.EqualError(t, newRow(&o, 0, []int32{0}, 1).take(0), "the pipe is closed")
}

func TestOptionsAreChecked(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	good := Options{MaxNewTokens: 1}
	require.NoError(t, good.check(9))
	for why, change := range map[string]func(*Options){
		"max-new-tokens: is 0":           func(o *Options) { o.MaxNewTokens = 0 },
		"max-new-tokens: is 2000000":     func(o *Options) { o.MaxNewTokens = 2000000 },
		"temperature: is NaN":            func(o *Options) { o.Temperature = nan },
		"temperature: is -1":             func(o *Options) { o.Temperature = -1 },
		"temperature: is +Inf":           func(o *Options) { o.Temperature = inf },
		"temperature: is 1e-30":          func(o *Options) { o.Temperature = 1e-30 },
		"top-k: is -1":                   func(o *Options) { o.TopK = -1 },
		"top-p: is NaN":                  func(o *Options) { o.TopP = nan },
		"top-p: is 1.5":                  func(o *Options) { o.TopP = 1.5 },
		"top-p: is -0.1":                 func(o *Options) { o.TopP = -0.1 },
		"min-p: is NaN":                  func(o *Options) { o.MinP = nan },
		"min-p: is 2":                    func(o *Options) { o.MinP = 2 },
		"repetition-penalty: is NaN":     func(o *Options) { o.RepetitionPenalty = nan },
		"repetition-penalty: is -1":      func(o *Options) { o.RepetitionPenalty = -1 },
		"repetition-penalty: is +Inf":    func(o *Options) { o.RepetitionPenalty = inf },
		"token 9 is outside":             func(o *Options) { o.Ends = []int32{9} },
		"token -1 is outside":            func(o *Options) { o.Ends = []int32{-1} },
		"need the text of the tokens":    func(o *Options) { o.Stops = []string{"x"} },
		`stop: "" is none`:               func(o *Options) { o.Stops, o.Text = []string{""}, func() TextStream { return nil } },
		`stop: "\xff" is none`:           func(o *Options) { o.Stops, o.Text = []string{"\xff"}, func() TextStream { return nil } },
		"streaming need the text of the": func(o *Options) { o.Emit = func(int, string) error { return nil } },
	} {
		o := good
		change(&o)
		err := o.check(9)
		require.ErrorContains(t, err, why)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	}
}
