package data

import (
	"errors"
	"fmt"
	"slices"

	"alphalora/internal/alpaca"
	"alphalora/model/tokenizer"
)

// Encoder is the tokenizer, as far as samples need it. It must be safe for concurrent use.
type Encoder interface {
	Encode(text string, special bool) ([]int32, error)
	// Places cuts a text that writes its special tokens itself, and tells at which byte
	// the text of each token begins.
	Places(text string) (ids []int32, starts []int, err error)
	// Conversation writes turns as the model reads them, with the beginning of the
	// assistant's next turn where prompt is set.
	Conversation(messages []tokenizer.Message, prompt bool) (string, error)
	EOS() (int32, bool)
}

// Templates for records of instruction, input and output.
const (
	Alpaca = "alpaca"
	Chat   = "chat" // a turn of the user's and one of the assistant's
)

// Options of reading.
type Options struct {
	Encoder       Encoder // nil where all records are tokenised
	Vocabulary    int     // ids must lie below it
	Cutoff        int     // most tokens of a sample; longer ones are cut at the right; 0 for no limit
	TrainOnInputs bool    // learn the prompt too
	Template      string  // Alpaca, also where empty, or Chat
	Form          *Form   // a template of the user's own, instead
	Skip          bool    // leave bad records out and count them; else the first one is an error
	Dir           string  // of the temporary file; the system's where empty
	Workers       int     // goroutines that encode; as many as processors, up to 8, where 0
	// Progress is told how many bytes of the files are done, of how many; may be nil.
	Progress func(done, total int64)
}

// Sample is one record in tokens. Labels is nil where every id is its own label.
type Sample struct {
	IDs, Labels []int32
}

// sample encodes one record.
func (o *Options) sample(text []byte) (Sample, error) {
	if ids, labels, ok := tokens(text); ok {
		return o.tokenised(ids, labels)
	}
	r, err := decode(text)
	if err != nil {
		return Sample{}, err
	}
	switch {
	case r.has("input_ids"):
		ids, err := r.integers("input_ids")
		if err != nil {
			return Sample{}, err
		}
		labels, err := r.integers("labels")
		if err != nil {
			return Sample{}, err
		}
		return o.tokenised(ids, labels)
	case o.Form != nil:
		return o.formed(text)
	case r.has("messages"):
		messages, err := r.messages()
		if err != nil {
			return Sample{}, err
		}
		return o.conversation(messages)
	case !r.has("instruction"):
		return Sample{}, errors.New("has neither instruction nor messages nor input_ids")
	}
	return o.instructed(r)
}

var errNoTokenizer = errors.New("is text, but the model has no tokenizer")

// instructed encodes a record of instruction, input and output.
func (o *Options) instructed(r record) (Sample, error) {
	instruction, err := r.text("instruction")
	if err != nil {
		return Sample{}, err
	}
	input, err := r.text("input")
	if err != nil {
		return Sample{}, err
	}
	output, err := r.text("output")
	switch {
	case err != nil:
		return Sample{}, err
	case output == "":
		return Sample{}, errors.New("has no output")
	case o.Encoder == nil:
		return Sample{}, errNoTokenizer
	case o.Template != Chat:
		return o.Text(alpaca.Prompt(instruction, input), output)
	}
	if input != "" {
		instruction += "\n\n" + input
	}
	return o.conversation([]tokenizer.Message{{Role: "user", Content: instruction}, {Role: assistant, Content: output}})
}

// formed encodes a record as the user's own template writes it.
func (o *Options) formed(text []byte) (Sample, error) {
	if o.Encoder == nil {
		return Sample{}, errNoTokenizer
	}
	prompt, answer, err := o.Form.render(text)
	if err != nil {
		return Sample{}, err
	}
	return o.Text(prompt, answer)
}

// Text makes the sample of a prompt and its answer, as the released code does: the whole
// text is encoded at once and ended by the end token, and the mask covers as many tokens
// as the prompt alone has. Where the last token of the prompt and the first of the answer
// melt into one, that one is masked too.
func (o *Options) Text(prompt, answer string) (Sample, error) {
	ids, err := o.Encoder.Encode(prompt+answer, true)
	if err != nil {
		return Sample{}, err
	}
	end, ends := o.Encoder.EOS()
	if ends && (len(ids) == 0 || ids[len(ids)-1] != end) {
		ids = append(ids, end)
	}
	s := Sample{IDs: ids}
	if o.TrainOnInputs {
		return s, o.check(s)
	}
	head, err := o.Encoder.Encode(prompt, true)
	if err != nil {
		return Sample{}, err
	}
	if n := len(head); ends && n > 0 && head[n-1] == end {
		head = head[:n-1] // the tokenizer ends every text; the prompt is not at its end yet
	}
	s.Labels = slices.Clone(ids)
	for i := range min(len(head), len(ids)) {
		s.Labels[i] = Ignored
	}
	return s, o.check(s)
}

func (o *Options) tokenised(ids, labels []int32) (Sample, error) {
	s := Sample{IDs: ids, Labels: labels}
	if len(s.IDs) < 2 {
		return s, fmt.Errorf("has %d tokens: two are needed to learn one", len(s.IDs))
	}
	if s.Labels != nil && len(s.Labels) != len(s.IDs) {
		return s, fmt.Errorf("has %d input_ids but %d labels", len(s.IDs), len(s.Labels))
	}
	return s, o.check(s)
}

// check holds ids and labels against the vocabulary.
func (o *Options) check(s Sample) error {
	for i, id := range s.IDs {
		if id < 0 || int(id) >= o.Vocabulary {
			return fmt.Errorf("token %d at %d is not below the vocabulary's %d", id, i, o.Vocabulary)
		}
	}
	for i, l := range s.Labels {
		if l != Ignored && (l < 0 || int(l) >= o.Vocabulary) {
			return fmt.Errorf("label %d at %d is neither -100 nor below the vocabulary's %d", l, i, o.Vocabulary)
		}
	}
	if s.targets() == 0 {
		return errors.New("has no token to learn after the first")
	}
	return nil
}

// cut shortens the sample at the right; it tells whether it had to.
func (s *Sample) cut(limit int) bool {
	if limit <= 0 || len(s.IDs) <= limit {
		return false
	}
	s.IDs = s.IDs[:limit]
	if s.Labels != nil {
		s.Labels = s.Labels[:limit]
	}
	return true
}

// targets is how many tokens after the first carry loss.
func (s *Sample) targets() int {
	if s.Labels == nil {
		return max(0, len(s.IDs)-1)
	}
	n := 0
	for _, l := range s.Labels[min(1, len(s.Labels)):] {
		if l != Ignored {
			n++
		}
	}
	return n
}
