package data

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"

	"alphalora/internal/fault"
)

// Report says what reading did.
type Report struct {
	Samples   int      `json:"records"` // good records read
	Cut       int      `json:"cut"`     // of those, longer than the cut-off
	Dropped   int      `json:"dropped"` // of those, without any target left
	Skipped   int      `json:"skipped"` // bad records that were left out
	Problems  []string `json:"problems,omitempty"`
	AllTokens int64    `json:"tokens"`  // of the samples that are kept
	Targets   int64    `json:"targets"` // of those, how many are learnt
	SHA256    string   `json:"sha256"`  // of all samples' tokens and labels
	Files     []File   `json:"files"`
}

// File is what was read of one.
type File struct {
	Path    string  `json:"path"`
	SHA256  string  `json:"sha256"`
	Bytes   int64   `json:"bytes"`
	Weight  float64 `json:"weight"`
	Samples int     `json:"samples"` // that are kept
}

// maxProblems is how many of the skipped records a report names.
const maxProblems = 20

// Read reads the samples of files in their order: JSON arrays, JSONL or Parquet, of
// {instruction, input, output}, of {messages: [{role, content}]}, or of tokenised
// {input_ids, labels}. Other keys of a record are left alone. A bad record is an error
// that names its file and line, or is counted where the options skip it; a file that is
// damaged between its records is an error always.
func Read(ctx context.Context, sources []Source, o Options) (set *Set, err error) {
	s, err := newSet(o.Dir)
	if err != nil {
		return nil, err
	}
	r := &reading{Set: s, o: &o}
	for _, source := range sources {
		if info, err := os.Stat(source.Path); err == nil {
			r.total += info.Size()
		}
	}
	for _, source := range sources {
		if err = r.file(ctx, source); err != nil {
			break
		}
	}
	if err == nil {
		if err = s.seal(); err != nil {
			err = cacheFault(o.Dir, err)
		}
	}
	if err == nil && s.Len() == 0 {
		err = fault.Input("data.cutoff", "raise it above the length of the prompts",
			"all %d samples lose their whole answer at the cut-off of %d tokens", s.Samples, o.Cutoff)
	}
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	s.index = slices.Clip(s.index)
	return s, nil
}

// reading fills a set.
type reading struct {
	*Set
	o           *Options
	done, total int64 // bytes of files
	large       sync.Mutex
}

// largeRecord is a text so long that only one at a time is encoded: the tokenizer takes
// about a hundred times its size.
const largeRecord = 1 << 20

// chunk is some records on their way to a worker.
type chunk struct {
	text   []byte
	ends   []int // of each record in text
	places []place
	bad    []error // why a place has no text; nil where it has
	read   int64   // bytes of the file up to here
}

// The bounds of a chunk: enough work for a goroutine, little memory.
const (
	chunkRecords = 256
	chunkBytes   = 256 << 10
)

// encoded is what became of a record.
type encoded struct {
	Sample
	place
	bad error
}

// encodedChunk is what became of a chunk.
type encodedChunk struct {
	records []encoded
	read    int64
}

// file reads one file.
func (r *reading) file(ctx context.Context, source Source) error {
	in, err := open(source.Path)
	if err != nil {
		return err
	}
	defer in.close()
	form, buffered, line, err := sniff(in)
	if err != nil {
		return err
	}
	weight := source.Weight
	if weight == 0 {
		weight = 1
	}
	before, first := r.Report, r.Len()
	r.firsts, r.forms = append(r.firsts, first), append(r.forms, form)
	r.Files = append(r.Files, File{Path: source.Path, Bytes: in.info.Size(), Weight: weight})
	scan := func(do emit) error {
		switch form {
		case arrayLayout:
			return eachOfArray(in.path, buffered, line, do)
		case parquetLayout:
			if _, err := in.f.Seek(0, 0); err != nil {
				return unreadable(in.path, err)
			}
			in.read = 0
			in.hash.Reset()
			return eachRow(in, do)
		}
		return eachLine(in.path, buffered, line, do)
	}
	err = inOrder(r.workers(), func(emit func(*chunk) bool) error { return chunks(ctx, in, scan, emit) }, r.encode, r.take)
	if err != nil {
		return err
	}
	f := &r.Files[len(r.Files)-1]
	if f.SHA256, err = in.finish(); err != nil {
		return err
	}
	f.Samples = r.Len() - first
	r.done += in.info.Size()
	switch skipped := r.Skipped - before.Skipped; {
	case r.Samples > before.Samples:
		return nil
	case skipped > 0:
		return fault.Input(source.Path, "mend the file", "all %d records are bad", skipped)
	}
	return fault.Input(source.Path, "give a file with at least one record", "holds no record")
}

func (r *reading) workers() int {
	if r.o.Workers > 0 {
		return r.o.Workers
	}
	return min(runtime.GOMAXPROCS(0), 8)
}

// chunks gathers the records of a file.
func chunks(ctx context.Context, in *input, scan func(emit) error, send func(*chunk) bool) error {
	c := &chunk{}
	flush := func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.read = in.read
		if len(c.places) > 0 && !send(c) {
			return context.Canceled // the taker has its own error
		}
		c = &chunk{}
		return nil
	}
	err := scan(func(at place, text []byte, bad error) error {
		c.text = append(c.text, text...)
		c.ends, c.places, c.bad = append(c.ends, len(c.text)), append(c.places, at), append(c.bad, bad)
		if len(c.places) < chunkRecords && len(c.text) < chunkBytes {
			return nil
		}
		return flush()
	})
	// What comes before an error is still to be taken: its own errors stand before this one.
	if flushed := flush(); err == nil {
		err = flushed
	}
	return err
}

// encode turns a chunk's records into samples.
func (r *reading) encode(c *chunk) encodedChunk {
	done := encodedChunk{records: make([]encoded, len(c.places)), read: c.read}
	from := 0
	for i, at := range c.places {
		e := encoded{place: at, bad: c.bad[i]}
		if e.bad == nil {
			e.Sample, e.bad = r.sample(bytes.TrimSpace(c.text[from:c.ends[i]]))
		}
		from, done.records[i] = c.ends[i], e
	}
	return done
}

func (r *reading) sample(text []byte) (Sample, error) {
	if len(text) > largeRecord {
		r.large.Lock()
		defer r.large.Unlock()
	}
	return r.o.sample(text)
}

// take stores a chunk's samples.
func (r *reading) take(c encodedChunk) error {
	form, path := r.forms[len(r.forms)-1], r.Files[len(r.Files)-1].Path
	for _, e := range c.records {
		if e.bad != nil {
			if err := r.bad(badAt(e.in(path, form), e.bad)); err != nil {
				return err
			}
			continue
		}
		r.Samples++
		if e.cut(r.o.Cutoff) {
			r.Cut++
			if e.targets() == 0 {
				r.Dropped++
				continue
			}
		}
		r.AllTokens, r.Targets = r.AllTokens+int64(len(e.IDs)), r.Targets+int64(e.targets())
		where := e.number
		if form == linesLayout {
			where = e.line
		}
		if err := r.add(e.Sample, where); err != nil {
			return cacheFault(r.o.Dir, err)
		}
	}
	if r.o.Progress != nil {
		r.o.Progress(r.done+c.read, r.total)
	}
	return nil
}

// bad counts a bad record, or is its error.
func (r *reading) bad(err error) error {
	if !r.o.Skip {
		return err
	}
	r.Skipped++
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, err.Error())
	}
	return nil
}

// String tells the report on one line.
func (r Report) String() string {
	text := fmt.Sprintf("%d samples, %d cut, %d of them dropped", r.Samples, r.Cut, r.Dropped)
	if r.Skipped > 0 {
		text += fmt.Sprintf(", %d bad records skipped", r.Skipped)
	}
	return text
}
