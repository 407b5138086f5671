package generate

import (
	"bytes"
	"math/rand/v2"
	"slices"
)

// row is one prompt on its way.
type row struct {
	options *Options
	prompt  int     // its place in the caller's list
	ids     []int32 // the prompt
	output  Output
	done    bool
	pad     int        // left padding, once it is in a batch
	last    int32      // the token that goes in next
	random  *rand.Rand // nil where nothing is drawn
	drawn   []float32  // from random so far, one a new token
	seen    []bool     // [V], nil without a repetition penalty

	stream  TextStream // nil: no text
	text    []byte     // so far
	marks   []mark     // where the text has grown
	emitted int        // bytes of the text that were given to Emit
}

// mark says that so many tokens make so many bytes of text.
type mark struct{ tokens, bytes int }

func newRow(o *Options, prompt int, ids []int32, vocabulary int) *row {
	r := &row{options: o, prompt: prompt, ids: ids, last: ids[len(ids)-1]}
	f := o.features()
	if f.sample {
		r.random = randomOf(o.Seed, prompt)
	}
	if f.penalty {
		r.seen = make([]bool, vocabulary)
		for _, id := range ids {
			r.seen[id] = true
		}
	}
	if o.Text != nil {
		r.stream = o.Text()
	}
	return r
}

// tokens are the prompt and what has come.
func (r *row) tokens() []int32 { return slices.Concat(r.ids, r.output.IDs) }

// idle is a row that only fills a batch; it repeats another's tokens.
func (r *row) idle() *row { return &row{ids: r.tokens(), seen: r.seen, done: true} }

// draw is the random number of the n-th new token.
func (r *row) draw(n int) float32 {
	for len(r.drawn) <= n {
		r.drawn = append(r.drawn, uniform(r.random))
	}
	return r.drawn[n]
}

// take adds a new token, unless the row has ended.
func (r *row) take(id int32) error {
	if r.done {
		return nil
	}
	r.last = id
	if slices.Contains(r.options.Ends, id) {
		return r.finish(Stopped)
	}
	if r.seen != nil {
		r.seen[id] = true
	}
	r.output.IDs = append(r.output.IDs, id)
	if r.stream != nil {
		piece, err := r.stream.Next(id)
		if err != nil {
			return err
		}
		if r.add(piece) {
			return r.end(Stopped)
		}
	}
	if len(r.output.IDs) == r.options.MaxNewTokens {
		return r.finish(AtLimit)
	}
	return r.emit(len(r.text) - r.withheld())
}

// add appends to the text and tells whether a stop text came: the text is then cut
// there, and so are the ids. Of several that one piece completes, the earliest counts.
func (r *row) add(piece string) (stopped bool) {
	if piece == "" {
		return false
	}
	before := len(r.text)
	r.text = append(r.text, piece...)
	at := -1
	for _, stop := range r.options.Stops {
		from := max(before-len(stop)+1, 0)
		if i := bytes.Index(r.text[from:], []byte(stop)); i >= 0 && (at < 0 || from+i < at) {
			at = from + i
		}
	}
	if at < 0 {
		r.marks = append(r.marks, mark{len(r.output.IDs), len(r.text)})
		return false
	}
	r.text = r.text[:at]
	whole := 0
	for i := len(r.marks) - 1; i >= 0 && whole == 0; i-- {
		if r.marks[i].bytes <= at {
			whole = r.marks[i].tokens
		}
	}
	r.output.IDs = r.output.IDs[:whole]
	return true
}

// withheld is the length of the longest end of the text that may become a stop text.
func (r *row) withheld() int {
	longest := 0
	for _, stop := range r.options.Stops {
		for n := min(len(stop)-1, len(r.text)-r.emitted); n > longest; n-- {
			if bytes.HasSuffix(r.text, []byte(stop[:n])) {
				longest = n
			}
		}
	}
	return longest
}

// finish ends a row that no stop text has cut, unless one comes with the characters that
// never became whole.
func (r *row) finish(why string) error {
	if r.stream != nil {
		rest, err := r.stream.Flush()
		if err != nil {
			return err
		}
		if r.add(rest) {
			why = Stopped
		}
	}
	return r.end(why)
}

func (r *row) end(why string) error {
	r.done = true
	r.output.Text, r.output.Finish = string(r.text), why
	return r.emit(len(r.text))
}

// emit hands over the text up to a byte.
func (r *row) emit(to int) error {
	if r.options.Emit == nil || to <= r.emitted {
		return nil
	}
	piece := string(r.text[r.emitted:to])
	r.emitted = to
	return r.options.Emit(r.prompt, piece)
}
