package benchmark

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"alphalora/internal/fault"
)

// maxFile bounds a benchmark file, and with it the memory that reading it takes.
const maxFile = 1 << 30

// File is the path of a split's file below dir, which is the benchmark's own folder
// or holds one folder a benchmark.
func (b Benchmark) File(dir, split string) (string, error) {
	names, ok := b.files[split]
	if !ok {
		return "", fault.Input(fmt.Sprintf("split %q", split), "choose one of "+strings.Join(slices.Sorted(maps.Keys(b.files)), ", "),
			"is not a split of %s", b.Name)
	}
	folder, err := b.folder(dir)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(folder, name)); err == nil {
			return filepath.Join(folder, name), nil
		}
	}
	return "", fault.Input(folder, "put one of "+strings.Join(names, ", ")+" there", "holds no %s file of %s", split, b.Name)
}

// Load reads the items of a split below dir; see [Benchmark.File] and [Benchmark.Read].
func (b Benchmark) Load(dir, split string) ([]Item, error) {
	path, err := b.File(dir, split)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fault.Input(path, "name a file", "is not a regular file")
	}
	if info.Size() > maxFile {
		return nil, tooLarge(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Input(path, "make it readable", "cannot be opened: %v", err)
	}
	defer func() { _ = f.Close() }()
	return b.Read(path, f)
}

// Read decodes a JSON array of records, or JSON records one after the other
// (JSONL). name is what errors call the source; they count records from 1. Bad
// input are: no record, anything but JSON, a missing or contradictory field, no
// choices, a gold answer that does not parse, a repeated id, more than 1 GiB.
func (b Benchmark) Read(name string, r io.Reader) ([]Item, error) {
	return b.read(name, r, maxFile)
}

func (b Benchmark) read(name string, r io.Reader, limit int64) ([]Item, error) {
	limited := &io.LimitedReader{R: r, N: limit + 1}
	var items []Item
	seen := map[string]int{}
	err := eachRecord(name, limited, func(raw json.RawMessage) error {
		p, err := b.problem(raw)
		if err != nil {
			return err
		}
		if before, ok := seen[p.id]; ok {
			return fmt.Errorf("its id %q is that of record %d", clip(p.id), before)
		}
		if p.id != "" {
			seen[p.id] = len(items) + 1
		}
		items = append(items, b.item(len(items), p))
		return nil
	})
	switch {
	case limited.N == 0:
		return nil, tooLarge(name)
	case err != nil:
		return nil, err
	case len(items) == 0:
		return nil, fault.Input(name, "give it at least one record", "holds no records")
	}
	return items, nil
}

func tooLarge(name string) error {
	return fault.Input(name, "split it", "is larger than %d bytes, the most that a benchmark file may have", int64(maxFile))
}

func (b Benchmark) problem(raw json.RawMessage) (problem, error) {
	if !utf8.Valid(raw) {
		return problem{}, errors.New("is not valid UTF-8")
	}
	var f fields
	if err := json.Unmarshal(raw, &f); err != nil || f == nil {
		return problem{}, errors.New("is not a JSON object")
	}
	p, err := b.decode(b, f)
	if err == nil && strings.TrimSpace(p.instruction) == "" {
		err = errors.New("its question is empty")
	}
	return p, err
}

// eachRecord streams the records of an array or of JSONL; its errors name the record.
func eachRecord(name string, r io.Reader, record func(json.RawMessage) error) error {
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
		if err := record(raw); err != nil {
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

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
