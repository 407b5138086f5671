package data

import (
	"errors"
	"fmt"
	"slices"

	"alphalora/internal/alpaca"
	"alphalora/internal/fault"
)

// Encoder is the tokenizer, as far as samples need it.
type Encoder interface {
	Encode(text string, special bool) ([]int32, error)
	EOS() (int32, bool)
}

// Options of reading.
type Options struct {
	Encoder       Encoder // nil where all records are tokenised
	Vocabulary    int     // ids must lie below it
	Cutoff        int     // most tokens of a sample; longer ones are cut at the right; 0 for no limit
	TrainOnInputs bool    // learn the prompt too
}

// Sample is one record in tokens. Labels is nil where every id is its own label.
type Sample struct {
	IDs, Labels []int32
}

// Report says what reading did to the samples.
type Report struct {
	Samples int // records read
	Cut     int // of those, longer than the cut-off
	Dropped int // of those, without any target left
}

// Read reads the samples of files in their order: JSON arrays or JSONL of
// {instruction, input, output}, or of tokenised {input_ids, labels}. Other keys of a
// record are left alone. The first bad record is an error that names its file and line.
func Read(paths []string, o Options) (samples []Sample, report Report, err error) {
	for _, path := range paths {
		before := report.Samples
		err := each(path, func(line int, r *record) error {
			s, err := o.sample(r)
			if err != nil {
				return at(path, line, err)
			}
			report.Samples++
			if s.cut(o.Cutoff) {
				report.Cut++
				if s.targets() == 0 {
					report.Dropped++
					return nil
				}
			}
			samples = append(samples, s)
			return nil
		})
		if err != nil {
			return nil, report, err
		}
		if report.Samples == before {
			return nil, report, fault.Input(path, "give a file with at least one record", "holds no record")
		}
	}
	if len(samples) == 0 {
		return nil, report, fault.Input("data.cutoff", "raise it above the length of the prompts",
			"all %d samples lose their whole answer at the cut-off of %d tokens", report.Samples, o.Cutoff)
	}
	return samples, report, nil
}

// at says where a record is bad.
func at(path string, line int, err error) error {
	var bad *fault.Bad
	if errors.As(err, &bad) {
		return fault.Input(fmt.Sprintf("%s:%d", path, line), bad.Do, "%s: %s", bad.What, bad.Why)
	}
	return fault.Input(fmt.Sprintf("%s:%d", path, line), "mend or remove the record", "%v", err)
}

// sample encodes one record.
func (o Options) sample(r *record) (Sample, error) {
	switch {
	case r.InputIDs != nil:
		return o.tokenised(r)
	case r.Messages != nil:
		return Sample{}, errors.New("holds messages, which need a chat template: use instruction, input and output")
	case r.Instruction == nil:
		return Sample{}, errors.New("has neither instruction nor input_ids")
	case r.Output == nil || *r.Output == "":
		return Sample{}, errors.New("has no output")
	case o.Encoder == nil:
		return Sample{}, errors.New("is text, but the model has no tokenizer")
	}
	return o.Text(alpaca.Prompt(*r.Instruction, r.Input), *r.Output)
}

// Text makes the sample of a prompt and its answer, as the released code does: the whole
// text is encoded at once and ended by the end token, and the mask covers as many tokens
// as the prompt alone has. Where the last token of the prompt and the first of the answer
// melt into one, that one is masked too.
func (o Options) Text(prompt, answer string) (Sample, error) {
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

func (o Options) tokenised(r *record) (Sample, error) {
	s := Sample{IDs: r.InputIDs, Labels: r.Labels}
	if len(s.IDs) < 2 {
		return s, fmt.Errorf("has %d tokens: two are needed to learn one", len(s.IDs))
	}
	if s.Labels != nil && len(s.Labels) != len(s.IDs) {
		return s, fmt.Errorf("has %d input_ids but %d labels", len(s.IDs), len(s.Labels))
	}
	return s, o.check(s)
}

// check holds ids and labels against the vocabulary.
func (o Options) check(s Sample) error {
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
	s.IDs = slices.Clone(s.IDs[:limit]) // what is cut off must not stay in memory
	if s.Labels != nil {
		s.Labels = slices.Clone(s.Labels[:limit])
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
