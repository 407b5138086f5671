package data

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"alphalora/internal/fault"
)

// record is one element of a training file, in any of its forms.
type record struct {
	Instruction *string         `json:"instruction"`
	Input       string          `json:"input"`
	Output      *string         `json:"output"`
	Messages    json.RawMessage `json:"messages"`
	InputIDs    []int32         `json:"input_ids"`
	Labels      []int32         `json:"labels"`
}

// decode reads one record.
func (r *record) decode(text []byte) error {
	if ids, labels, ok := tokens(text); ok {
		r.InputIDs, r.Labels = ids, labels
		return nil
	}
	err := json.Unmarshal(text, r)
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong) && wrong.Field == "":
		return fmt.Errorf("is a %s, not a record", wrong.Value)
	case errors.As(err, &wrong):
		need := map[reflect.Kind]string{reflect.String: "text", reflect.Slice: "a list", reflect.Int32: "a token id"}[wrong.Type.Kind()]
		return fmt.Errorf("has a %s in %s: %s is needed", wrong.Value, wrong.Field, need)
	default:
		return fmt.Errorf("is not a JSON record: %w", err)
	}
}

// maxRecord bounds the text of one record.
const maxRecord = 64 << 20

// errLong is a record beyond that bound.
var errLong = fmt.Errorf("is longer than %d MiB", maxRecord>>20)

// each calls do with every record of a file and the line on which it begins.
func each(path string, do func(line int, r *record) error) error {
	f, err := os.Open(path)
	if err != nil {
		return unreadable(path, err)
	}
	defer func() { _ = f.Close() }()
	in := bufio.NewReaderSize(f, 1<<20)
	if mark, _ := in.Peek(3); string(mark) == "\ufeff" {
		_, _ = in.Discard(3) // they were just seen
	}
	line := 1
	for {
		c, err := in.ReadByte()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return unreadable(path, err)
		case c == '\n':
			line++
		case c != ' ' && c != '\r' && c != '\t':
			_ = in.UnreadByte() // a byte was just read
			if c == '[' {
				return eachOfArray(path, in, line, do)
			}
			return eachLine(path, in, line, do)
		}
	}
}

func unreadable(path string, err error) error {
	return fault.Input(path, "name a JSON or JSONL file", "cannot be read: %v", fault.Reason(err))
}

func eachLine(path string, in io.Reader, line int, do func(line int, r *record) error) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 1<<20), maxRecord)
	for ; lines.Scan(); line++ {
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 {
			continue
		}
		var r record
		if err := r.decode(text); err != nil {
			return at(path, line, err)
		}
		if err := do(line, &r); err != nil {
			return err
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return at(path, line, errLong)
	case err != nil:
		return unreadable(path, err)
	}
	return nil
}

func eachOfArray(path string, in io.Reader, line int, do func(line int, r *record) error) error {
	counted := &lineCounter{in: in, before: line}
	d := json.NewDecoder(counted)
	if _, err := d.Token(); err != nil { // the bracket that was seen
		return unreadable(path, err)
	}
	for d.More() {
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return badElement(path, counted, d.InputOffset(), err)
		}
		line := counted.line(d.InputOffset() - int64(len(raw)))
		counted.done = d.InputOffset()
		var r record
		if err := r.decode(raw); err != nil {
			return at(path, line, err)
		}
		if err := do(line, &r); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return badElement(path, counted, d.InputOffset(), err)
	}
	if _, err := d.Token(); err != io.EOF {
		return at(path, counted.line(d.InputOffset()), errors.New("something follows the array"))
	}
	return nil
}

// badElement says why an array cannot be read on.
func badElement(path string, c *lineCounter, offset int64, err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return at(path, c.line(c.read), errors.New("the file ends before the array does"))
	case errors.As(err, &syntax):
		return at(path, c.line(max(offset, syntax.Offset-1)), fmt.Errorf("is not a JSON record: %s", strings.TrimPrefix(err.Error(), "json: ")))
	case errors.Is(err, errLong):
		return at(path, c.line(offset), errLong)
	default:
		return unreadable(path, err)
	}
}

// lineCounter remembers where the lines of what was read end, and stops a record that
// does not.
type lineCounter struct {
	in     io.Reader
	read   int64   // bytes
	done   int64   // of those, in records that are complete
	ends   []int64 // of lines, from the last one asked for
	before int     // the number of the first of them
}

func (c *lineCounter) Read(p []byte) (int, error) {
	if c.read-c.done > maxRecord {
		return 0, errLong
	}
	n, err := c.in.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			c.ends = append(c.ends, c.read+int64(i))
		}
	}
	c.read += int64(n)
	return n, err
}

// line is the number of the line that holds the byte at an offset. Offsets must not
// decrease from call to call.
func (c *lineCounter) line(offset int64) int {
	passed, _ := slices.BinarySearch(c.ends, offset)
	c.ends, c.before = c.ends[passed:], c.before+passed
	return c.before
}
