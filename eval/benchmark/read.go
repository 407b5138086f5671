package benchmark

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"alphalora/internal/fault"
)

// maxFile bounds a benchmark file, and with it the memory that reading it takes.
const maxFile = 1 << 30

// Load reads the items of a split below dir; see [Benchmark.Files] for which files
// those are, and [Benchmark.Read] for what is bad input.
func (b Benchmark) Load(dir, split string) ([]Item, error) {
	paths, err := b.Files(dir, split)
	if err != nil {
		return nil, err
	}
	return b.load(paths, split)
}

func (b Benchmark) load(paths []string, split string) ([]Item, error) {
	all := collector{benchmark: b}
	for _, path := range paths {
		if err := b.eachOf(path, split, all.add); err != nil {
			return nil, err
		}
	}
	return all.done(paths[0])
}

// eachOf streams the records of a file in the layout that its name tells.
func (b Benchmark) eachOf(path, split string, do recordFunc) error {
	f, size, err := open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	switch filepath.Ext(path) {
	case ".parquet":
		return eachRow(path, f, size, do)
	case ".tsv", ".txt":
		return eachLine(path, f, b.columns, do)
	}
	if filepath.Base(path) == problemsFile {
		return eachProblem(path, f, split, do)
	}
	return eachRecord(path, f, do)
}

// open opens a regular file of bounded size.
func open(path string) (*os.File, int64, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, 0, fault.Input(path, "make it readable", "cannot be opened: %v", fault.Reason(err))
	case !info.Mode().IsRegular():
		return nil, 0, fault.Input(path, "name a file", "is not a regular file")
	case info.Size() > maxFile:
		return nil, 0, tooLarge(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fault.Input(path, "make it readable", "cannot be opened: %v", fault.Reason(err))
	}
	return f, info.Size(), nil
}

// Read decodes a JSON array of records, or JSON records one after the other
// (JSONL). name is what errors call the source; they count records from 1. Bad
// input are: no record, anything but JSON, a missing or contradictory field, no
// choices, a gold answer that does not parse, a repeated id, text that is not UTF-8,
// more than 1 GiB.
func (b Benchmark) Read(name string, r io.Reader) ([]Item, error) {
	return b.read(name, r, maxFile)
}

func (b Benchmark) read(name string, r io.Reader, limit int64) ([]Item, error) {
	limited := &io.LimitedReader{R: r, N: limit + 1}
	all := collector{benchmark: b}
	err := eachRecord(name, limited, all.add)
	switch {
	case limited.N == 0:
		return nil, tooLarge(name)
	case err != nil:
		return nil, err
	}
	return all.done(name)
}

func tooLarge(name string) error {
	return fault.Input(name, "split it", "is larger than %d bytes, the most that a benchmark file may have", int64(maxFile))
}

// recordFunc takes one record of a file; its errors continue "record 3: ".
type recordFunc func(fields) error

// collector makes items of records.
type collector struct {
	benchmark Benchmark
	items     []Item
	seen      map[string]int // ids → record
}

func (c *collector) add(f fields) error {
	p, err := c.benchmark.decode(c.benchmark, f)
	switch {
	case err != nil:
		return err
	case p.skipped:
		return nil
	case strings.TrimSpace(p.instruction) == "":
		return errors.New("its question is empty")
	}
	if before, ok := c.seen[p.id]; ok {
		return fmt.Errorf("its id %q is that of record %d", clip(p.id), before)
	}
	if c.seen == nil {
		c.seen = map[string]int{}
	}
	if p.id != "" {
		c.seen[p.id] = len(c.items) + 1
	}
	c.items = append(c.items, c.benchmark.item(len(c.items), p))
	return nil
}

func (c *collector) done(name string) ([]Item, error) {
	if len(c.items) == 0 {
		return nil, fault.Input(name, "give it at least one record", "holds no records")
	}
	return c.items, nil
}

// object reads a record's fields.
func object(raw json.RawMessage) (fields, error) {
	if !utf8.Valid(raw) {
		return nil, errUTF8
	}
	var f fields
	if err := json.Unmarshal(raw, &f); err != nil || f == nil {
		return nil, errors.New("is not a JSON object")
	}
	return f, nil
}

var errUTF8 = errors.New("is not valid UTF-8")

// eachRecord streams the records of an array or of JSONL; its errors name the record.
func eachRecord(name string, r io.Reader, do recordFunc) error {
	in := bufio.NewReader(r)
	first, err := firstByte(in)
	if errors.Is(err, io.EOF) {
		return fault.Input(name, "give it at least one record", "is empty")
	}
	if err != nil {
		return fmt.Errorf("%s: cannot be read: %w", name, err)
	}
	if first != '[' && first != '{' {
		return fault.Input(name, "give a JSON array or JSONL", "is not JSON: it starts with %q", first)
	}
	dec := json.NewDecoder(in)
	if first == '[' {
		_, _ = dec.Token() // the bracket just seen
	}
	n := 0
	for ; dec.More(); n++ {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return badRecord(name, n+1, syntax(err))
		}
		f, err := object(raw)
		if err == nil {
			err = do(f)
		}
		if err != nil {
			return badRecord(name, n+1, err)
		}
	}
	return atEnd(name, dec, first, n)
}

// atEnd checks that the input ends where its last record does.
func atEnd(name string, dec *json.Decoder, first byte, n int) error {
	if first == '[' {
		if _, err := dec.Token(); err != nil {
			return badRecord(name, n+1, syntax(err))
		}
	}
	switch _, err := dec.Token(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return badRecord(name, n+1, syntax(err))
	default:
		return badRecord(name, n+1, errors.New("stands after the end of the array"))
	}
}

func firstByte(in *bufio.Reader) (byte, error) {
	for {
		c, err := in.ReadByte()
		if err != nil {
			return 0, err
		}
		if !strings.ContainsRune(" \t\r\n", rune(c)) {
			return c, in.UnreadByte()
		}
	}
}

// syntax says in words what the JSON decoder found.
func syntax(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("is cut off: the file ends inside the JSON")
	}
	return fmt.Errorf("is not JSON: %w", err)
}

func badRecord(name string, n int, err error) error {
	return fault.Input(fmt.Sprintf("%s: record %d", name, n), "mend the record or take it out", "%v", err)
}
