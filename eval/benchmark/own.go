package benchmark

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"alphalora/internal/fault"
)

// OwnFile, in a benchmark's folder, says how its answers are written where it is none of the
// ten. Its records are those of [New].
const OwnFile = "benchmark.json"

// Own is the content of an [OwnFile].
type Own struct {
	Format string   `json:"format"`           // choice, label or number
	Labels []string `json:"labels,omitempty"` // the labels, two or more; of format label only
}

// maxOwn bounds an [OwnFile], in bytes.
const maxOwn = 1 << 20

// FindIn is [Find] among the ten and the benchmarks that are described below dir: name is a
// folder there with an [OwnFile].
func FindIn(dir, name string) (Benchmark, error) {
	b, unknown := Find(name)
	if unknown == nil || dir == "" || name == "" || name == "." || name == ".." || name != filepath.Base(name) {
		return b, unknown
	}
	path := filepath.Join(dir, name, OwnFile)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return Benchmark{}, fault.Input(fmt.Sprintf("benchmark %q", name), "name one of the ten, or a folder with a "+OwnFile,
			"is none of the ten (%s), and %s is not there", strings.Join(names(), ", "), path)
	}
	if err != nil {
		return Benchmark{}, fault.Input(path, "make it readable", "cannot be opened: %v", fault.Reason(err))
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, maxOwn+1))
	if err != nil {
		return Benchmark{}, fault.Input(path, "make it readable", "cannot be read: %v", fault.Reason(err))
	}
	own, err := parseOwn(content)
	if err != nil {
		return Benchmark{}, fault.Input(path, `write {"format": "label", "labels": ["yes", "no"]}, or format choice or number alone`, "%v", err)
	}
	return New(name, formatNamed(own.Format), own.Labels), nil
}

// names are those of the ten.
func names() (list []string) {
	for _, b := range All() {
		list = append(list, b.Name)
	}
	return list
}

// formatNamed is the format of that name, or nil.
func formatNamed(name string) Format {
	for _, f := range []Format{Choice, Label, Number} {
		if f.Name() == name {
			return f
		}
	}
	return nil
}

func parseOwn(content []byte) (own Own, err error) {
	if len(content) > maxOwn {
		return own, fmt.Errorf("has more than the %d bytes allowed", maxOwn)
	}
	in := json.NewDecoder(bytes.NewReader(content))
	in.DisallowUnknownFields()
	if err := in.Decode(&own); err != nil {
		return own, fmt.Errorf("is not the JSON of a benchmark: %w", err)
	}
	if in.More() {
		return own, errors.New("goes on after the benchmark")
	}
	format := formatNamed(own.Format)
	switch {
	case format == nil:
		return own, fmt.Errorf("format is %q: choice, label or number is needed", clip(own.Format))
	case (format == Label) != (len(own.Labels) > 0):
		return own, errors.New("labels and format label go together")
	case format == Label && len(own.Labels) < 2:
		return own, errors.New("labels has one entry: two or more are needed")
	}
	for i, l := range own.Labels {
		if l != strings.TrimSpace(l) || l == "" || slices.Contains(own.Labels[:i], l) {
			return own, fmt.Errorf("labels has %q, which is empty, has space around it or comes twice", clip(l))
		}
	}
	return own, nil
}
