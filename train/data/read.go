package data

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
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
	Cutoff        int     // most tokens of a sample; longer ones are cut at the right
	TrainOnInputs bool    // learn the prompt too
}

// Sample is one record in tokens. Labels is nil where every id is its own label.
type Sample struct {
	IDs, Labels []int32
}

// Report says what reading did to the samples.
type Report struct {
	Samples int
	Cut     int // longer than the cut-off
	Dropped int // of those, without any target left
}

// record is one element of a training file, in any of its forms.
type record struct {
	Instruction *string         `json:"instruction"`
	Input       string          `json:"input"`
	Output      *string         `json:"output"`
	Messages    json.RawMessage `json:"messages"`
	InputIDs    []int32         `json:"input_ids"`
	Labels      []int32         `json:"labels"`
}

// Read reads the samples of files in their order: JSON arrays or JSONL of
// {instruction, input, output}, or of tokenised {input_ids, labels}. The first bad record
// is an error that names its file and line.
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
				if !s.learns() {
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

// Text makes the sample of a prompt and its answer: the whole text is encoded at once and
// ended by the end token; the mask covers as many tokens as the prompt alone has.
func (o Options) Text(prompt, answer string) (Sample, error) {
	ids, err := o.Encoder.Encode(prompt+answer, true)
	if err != nil {
		return Sample{}, err
	}
	if end, ok := o.Encoder.EOS(); ok && (len(ids) == 0 || ids[len(ids)-1] != end) {
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
	s.Labels = append([]int32(nil), ids...)
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
	for i, l := range s.Labels {
		if l != Ignored && (l < 0 || int(l) >= o.Vocabulary) {
			return s, fmt.Errorf("label %d at %d is neither -100 nor below the vocabulary's %d", l, i, o.Vocabulary)
		}
	}
	if !s.learns() {
		return s, errors.New("has no label but -100: nothing to learn")
	}
	return s, o.check(s)
}

func (o Options) check(s Sample) error {
	for i, id := range s.IDs {
		if id < 0 || int(id) >= o.Vocabulary {
			return fmt.Errorf("token %d at %d is not below the vocabulary's %d", id, i, o.Vocabulary)
		}
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

// learns tells whether a token after the first carries loss.
func (s *Sample) learns() bool { return s.targets() > 0 }

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

// maxRecord bounds one line of a JSONL file.
const maxRecord = 64 << 20

// each calls do with every record of a file and the line on which it begins.
func each(path string, do func(line int, r *record) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fault.Input(path, "name a JSON or JSONL file", "cannot be read: %v", fault.Reason(err))
	}
	defer func() { _ = f.Close() }()
	in := bufio.NewReaderSize(f, 1<<20)
	for {
		c, err := in.ReadByte()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fault.Input(path, "name a JSON or JSONL file", "cannot be read: %v", fault.Reason(err))
		}
		if c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			_ = in.UnreadByte() // a byte was just read
			if c == '[' {
				return eachOfArray(path, in, do)
			}
			return eachLine(path, in, do)
		}
	}
}

func eachLine(path string, in io.Reader, do func(line int, r *record) error) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 1<<20), maxRecord)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return at(path, n, fmt.Errorf("is not a JSON record: %w", err))
		}
		if err := do(n, &r); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fault.Input(path, fmt.Sprintf("keep each line below %d MiB", maxRecord>>20), "%v", err)
	}
	return nil
}

func eachOfArray(path string, in io.Reader, do func(line int, r *record) error) error {
	counted := &lineCounter{in: in}
	d := json.NewDecoder(counted)
	if _, err := d.Token(); err != nil {
		return at(path, 1, err)
	}
	for d.More() {
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			where := d.InputOffset()
			var syntax *json.SyntaxError
			switch {
			case errors.Is(err, io.ErrUnexpectedEOF):
				where, err = counted.read, errors.New("the file ends inside it")
			case errors.As(err, &syntax):
				where = syntax.Offset
			}
			return at(path, counted.line(where), fmt.Errorf("is not a JSON record: %w", err))
		}
		line := counted.line(d.InputOffset() - int64(len(raw)))
		var r record
		if err := json.Unmarshal(raw, &r); err != nil {
			return at(path, line, fmt.Errorf("is not a JSON record: %w", err))
		}
		if err := do(line, &r); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return at(path, counted.line(d.InputOffset()), errors.New("the file ends before the array does"))
	}
	return nil
}

// lineCounter remembers where the lines of what was read end.
type lineCounter struct {
	in   io.Reader
	read int64
	ends []int64
}

func (c *lineCounter) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			c.ends = append(c.ends, c.read+int64(i))
		}
	}
	c.read += int64(n)
	return n, err
}

// line is the number, from 1, of the line that holds the byte at an offset.
func (c *lineCounter) line(offset int64) int {
	before, _ := slices.BinarySearch(c.ends, offset)
	return before + 1
}
