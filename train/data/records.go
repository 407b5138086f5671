package data

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"alphalora/internal/fault"
)

// layout is how a file holds its records.
type layout int

const (
	linesLayout   layout = iota // JSONL
	arrayLayout                 // one JSON array
	parquetLayout               // rows of columns
)

// place is where a record stands: its line, and its number in the file from 1. A Parquet
// file has no lines.
type place struct{ line, number int }

// in names a place for an error.
func (p place) in(path string, l layout) string {
	switch l {
	case linesLayout:
		return fmt.Sprintf("%s:%d", path, p.line)
	case arrayLayout:
		return fmt.Sprintf("%s:%d (record %d)", path, p.line, p.number)
	}
	return fmt.Sprintf("%s (row %d)", path, p.number)
}

// badAt says where a record is bad.
func badAt(where string, err error) error {
	var bad *fault.Bad
	if errors.As(err, &bad) {
		return fault.Input(where, bad.Do, "%s: %s", bad.What, bad.Why)
	}
	return fault.Input(where, "mend or remove the record", "%v", err)
}

// emit takes a record as JSON text, or why there is none; an error of its own ends the
// reading. The text is only valid during the call.
type emit func(at place, text []byte, bad error) error

// maxRecord bounds the text of one record.
const maxRecord = 16 << 20

// errLong is a record beyond that bound.
var errLong = fmt.Errorf("is longer than %d MiB", maxRecord>>20)

// sniff finds out how a file holds its records.
func sniff(in *input) (layout, *bufio.Reader, int, error) {
	r := bufio.NewReaderSize(in, 1<<20)
	if magic, _ := r.Peek(4); string(magic) == "PAR1" {
		return parquetLayout, r, 0, nil
	}
	if mark, _ := r.Peek(3); string(mark) == "\ufeff" {
		_, _ = r.Discard(3) // they were just seen
	}
	line := 1
	for {
		c, err := r.ReadByte()
		switch {
		case err == io.EOF:
			return linesLayout, r, line, nil
		case err != nil:
			return 0, nil, 0, unreadable(in.path, err)
		case c == '\n':
			line++
		case c != ' ' && c != '\r' && c != '\t':
			_ = r.UnreadByte() // a byte was just read
			if c == '[' {
				return arrayLayout, r, line, nil
			}
			return linesLayout, r, line, nil
		}
	}
}

// eachLine reads JSONL from a line on.
func eachLine(path string, in *bufio.Reader, line int, do emit) error {
	var text []byte
	for number := 1; ; line++ {
		var long bool
		var err error
		text, long, err = readLine(in, text[:0])
		if err != nil && err != io.EOF {
			return unreadable(path, err)
		}
		if trimmed := bytes.TrimSpace(text); long || len(trimmed) > 0 {
			var bad error
			if long {
				bad = errLong
			}
			if err := do(place{line, number}, trimmed, bad); err != nil {
				return err
			}
			number++
		}
		if err == io.EOF {
			return nil
		}
	}
}

// readLine appends a line to buf. One beyond maxRecord is passed over, and long.
func readLine(in *bufio.Reader, buf []byte) (text []byte, long bool, err error) {
	for {
		part, err := in.ReadSlice('\n')
		if !long {
			buf = append(buf, part...)
		}
		if len(buf) > maxRecord {
			long, buf = true, buf[:0]
		}
		if err != bufio.ErrBufferFull {
			return buf, long, err
		}
	}
}

// eachOfArray reads one JSON array that begins on a line. What is wrong between the
// records ends the reading, as nobody knows where the next one begins.
func eachOfArray(path string, in io.Reader, line int, do emit) error {
	counted := &lineCounter{in: in, before: line}
	d := json.NewDecoder(counted)
	if _, err := d.Token(); err != nil { // the bracket that was seen
		return unreadable(path, err)
	}
	number := 1
	for ; d.More(); number++ {
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return badElement(path, counted, number, d.InputOffset(), err)
		}
		at := place{counted.line(d.InputOffset() - int64(len(raw))), number}
		counted.done = d.InputOffset()
		if err := do(at, raw, nil); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return badElement(path, counted, number, d.InputOffset(), err)
	}
	if _, err := d.Token(); err != io.EOF {
		return badAt(fmt.Sprintf("%s:%d", path, counted.line(d.InputOffset())), errors.New("something follows the array"))
	}
	return nil
}

// badElement says why an array cannot be read on.
func badElement(path string, c *lineCounter, number int, offset int64, err error) error {
	var syntax *json.SyntaxError
	at := func(offset int64, why error) error {
		return badAt(place{c.line(offset), number}.in(path, arrayLayout), why)
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return at(c.read, errors.New("the file ends before the array does"))
	case errors.As(err, &syntax):
		return at(max(offset, syntax.Offset-1), fmt.Errorf("is not a JSON record: %s", strings.TrimPrefix(err.Error(), "json: ")))
	case errors.Is(err, errLong):
		return at(offset, errLong)
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
