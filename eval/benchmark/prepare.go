package benchmark

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"alphalora/internal/atomicfile"
	"alphalora/internal/fault"
)

// Manifest says what [Benchmark.Prepare] wrote, and from what.
type Manifest struct {
	Benchmark string          `json:"benchmark"`
	Format    string          `json:"format"`
	Dataset   string          `json:"dataset,omitempty"` // on the Hugging Face hub, and its commit, where it was fetched
	Splits    []PreparedSplit `json:"splits"`
}

// PreparedSplit is one file that was written.
type PreparedSplit struct {
	Split        string         `json:"split"`
	File         string         `json:"file"`
	Records      int            `json:"records"`
	SHA256       string         `json:"sha256"`        // of the file
	PromptSHA256 string         `json:"prompt_sha256"` // as in a result of the verb eval
	Answers      map[string]int `json:"answers,omitempty"`
	Sources      []Source       `json:"sources"`
}

// Source is a file that was read.
type Source struct {
	File   string `json:"file"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// ManifestFile is the manifest's name beside the files that it describes.
const ManifestFile = "manifest.json"

// prepared is a ready-made record.
type prepared struct {
	ID          string   `json:"id,omitempty"`
	Instruction string   `json:"instruction"`
	Input       string   `json:"input"`
	Output      string   `json:"output"`
	Answer      Answer   `json:"answer"`
	Choices     []string `json:"choices,omitempty"`
}

// Prepare reads every split that from holds and writes each as ready-made records, a JSON
// array with a record a line, into out/NAME, with a manifest beside them. A split of which
// there is no file is left out, but there must be one to evaluate. Nothing is written
// before all has been read. dataset goes into the manifest.
func (b Benchmark) Prepare(from, dataset, out string) (Manifest, error) {
	m := Manifest{Benchmark: b.Name, Format: b.Format.Name(), Dataset: dataset}
	items := map[string][]Item{}
	for _, split := range []string{"train", "validation", "test"} {
		if _, ok := b.files[split]; !ok {
			continue
		}
		paths, err := b.Files(from, split)
		if errors.As(err, new(*noFile)) && split != "test" {
			continue
		}
		if err != nil {
			return m, err
		}
		if items[split], err = b.load(paths, split); err != nil {
			return m, err
		}
		p := PreparedSplit{Split: split, File: split + ".json", Records: len(items[split]), PromptSHA256: PromptHash(items[split]), Answers: answers(items[split])}
		if p.Sources, err = sources(paths); err != nil {
			return m, err
		}
		m.Splits = append(m.Splits, p)
	}
	return m, m.write(filepath.Join(out, b.Name), items)
}

func (m Manifest) write(dir string, items map[string][]Item) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fault.Input(dir, "name a folder that you may write to", "cannot be made: %v", fault.Reason(err))
	}
	for i := range m.Splits {
		s, sum := &m.Splits[i], sha256.New()
		if err := atomicfile.Write(filepath.Join(dir, s.File), func(w io.Writer) error {
			return writeRecords(io.MultiWriter(w, sum), items[s.Split])
		}); err != nil {
			return err
		}
		s.SHA256 = hexOf(sum)
	}
	return atomicfile.Write(filepath.Join(dir, ManifestFile), func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(m)
	})
}

func writeRecords(w io.Writer, items []Item) error {
	out := bufio.NewWriter(w)
	separator := "[\n"
	for _, it := range items {
		_, _ = out.WriteString(separator)
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		if err := e.Encode(prepared{it.ID, it.Instruction, it.Input, it.Output, it.Gold, it.Options}); err != nil {
			return err
		}
		separator = ","
	}
	_, _ = out.WriteString("]\n")
	return out.Flush()
}

// answers counts the golds of a benchmark whose answers are few.
func answers(items []Item) map[string]int {
	counts := map[string]int{}
	for _, it := range items {
		if len(it.Choices) == 0 {
			return nil
		}
		counts[string(it.Gold)]++
	}
	return counts
}

func sources(paths []string) ([]Source, error) {
	var list []Source
	for _, path := range paths {
		f, _, err := open(path)
		if err != nil {
			return nil, err
		}
		sum := sha256.New()
		n, err := io.Copy(sum, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		list = append(list, Source{File: filepath.Base(path), Bytes: n, SHA256: hexOf(sum)})
	}
	return list, nil
}

func hexOf(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// Hub is the dataset on the Hugging Face hub that holds the official files, and the
// patterns of their names in it; empty where no dataset there has the published questions.
func (b Benchmark) Hub() (dataset string, patterns []string) {
	if b.hub == "" {
		return "", nil
	}
	for _, split := range slices.Sorted(maps.Keys(b.files)) {
		for _, p := range b.files[split] {
			if filepath.Ext(p) == ".parquet" {
				patterns = append(patterns, p, b.Name+"/"+p)
			}
		}
	}
	return b.hub, patterns
}
