package eval

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"alphalora/internal/fault"
)

// PartialSuffix is what a journal's name has behind that of the samples file.
const PartialSuffix = ".partial"

// maxJournal bounds a journal that is read again, and maxLine a line of it, in bytes.
const (
	maxJournal = 4 << 30
	maxLine    = 64 << 20
)

// Journal keeps the answers of a run that is under way, so that one that was interrupted
// goes on where it stopped. It is a JSONL file: first what the answers depend on, by name,
// then a [Sample] a line, appended batch by batch.
type Journal struct {
	file *os.File
	path string
	done map[string]map[int]Sample // by benchmark and index
}

// journalHead is the first line.
type journalHead struct {
	Run map[string]string `json:"run"`
}

// OpenJournal goes on with the journal at path, or begins one. One that was begun with
// anything else than run is bad input that names the difference. A last line that was cut
// off is dropped.
func OpenJournal(path string, run map[string]string) (*Journal, error) {
	j := &Journal{path: path, done: map[string]map[int]Sample{}}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil || !info.Mode().IsRegular():
		return nil, j.bad("name another samples file", "is not a file that can be read")
	case info.Size() > maxJournal:
		return nil, j.bad("remove it to begin anew", "has %d bytes, more than the %d allowed", info.Size(), int64(maxJournal))
	}
	if j.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return nil, j.bad("name a file that you may write to", "cannot be opened: %v", fault.Reason(err))
	}
	if err := j.read(run); err != nil {
		return nil, errors.Join(err, j.file.Close())
	}
	return j, nil
}

func (j *Journal) bad(do, why string, args ...any) error {
	return fault.Input(j.path, do, why, args...)
}

// read takes in the whole lines, and leaves the file at their end.
func (j *Journal) read(run map[string]string) error {
	in, end := bufio.NewReaderSize(j.file, 1<<16), int64(0)
	for n := 1; ; n++ {
		line, err := readLine(in)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = j.take(n, line, run)
		}
		if err != nil {
			return err
		}
		end += int64(len(line))
	}
	if err := j.file.Truncate(end); err != nil {
		return fmt.Errorf("%s: %w", j.path, err)
	}
	if _, err := j.file.Seek(end, io.SeekStart); err != nil {
		return fmt.Errorf("%s: %w", j.path, err)
	}
	if end == 0 {
		return j.write([]any{journalHead{run}})
	}
	return nil
}

// readLine reads a line with its end; io.EOF where the rest is not a whole line.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(line) > maxLine:
			return nil, fmt.Errorf("a line has more than %d bytes", maxLine)
		}
	}
}

func (j *Journal) take(n int, line []byte, run map[string]string) error {
	if n == 1 {
		var head journalHead
		if err := json.Unmarshal(line, &head); err != nil || head.Run == nil {
			return j.bad("name another samples file, or remove this one", "is not the journal of an evaluation")
		}
		return j.same(head.Run, run)
	}
	var s Sample
	if err := json.Unmarshal(line, &s); err != nil || s.Benchmark == "" || s.Index < 0 || len(s.LogProbs) != len(s.ChoiceTokens) {
		return j.bad("remove it to begin anew", "line %d is not a sample", n)
	}
	if j.done[s.Benchmark] == nil {
		j.done[s.Benchmark] = map[int]Sample{}
	}
	j.done[s.Benchmark][s.Index] = s
	return nil
}

// same refuses to go on with a run that depends on anything else.
func (j *Journal) same(before, now map[string]string) error {
	if changed := Changed(before, now); len(changed) > 0 {
		return j.bad("call it as before, or remove the file to begin anew", "holds answers of another evaluation: %s", strings.Join(changed, "; "))
	}
	return nil
}

// Changed says of each name whose value differs what it was and is, in alphabetical order.
func Changed(before, now map[string]string) []string {
	all := maps.Clone(before)
	maps.Copy(all, now)
	var changed []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if before[name] != now[name] {
			changed = append(changed, fmt.Sprintf("%s was %s, now %s", name, shown(before[name]), shown(now[name])))
		}
	}
	return changed
}

func shown(value string) string {
	const most = 40
	if len(value) > most {
		value = value[:most] + "…"
	}
	return fmt.Sprintf("%q", value)
}

// Done are the answers to a benchmark's items so far, by index.
func (j *Journal) Done(benchmark string) map[int]Sample { return j.done[benchmark] }

// Len is the number of answers that were there when the journal was opened.
func (j *Journal) Len() int {
	n := 0
	for _, answers := range j.done {
		n += len(answers)
	}
	return n
}

// Append adds answers, and gives them to the disk.
func (j *Journal) Append(samples []Sample) error {
	lines := make([]any, len(samples))
	for i, s := range samples {
		lines[i] = s
	}
	return j.write(lines)
}

func (j *Journal) write(lines []any) error {
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	for _, line := range lines {
		if err := e.Encode(line); err != nil {
			return err
		}
	}
	_, err := j.file.WriteString(text.String())
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("%s: not written: %w", j.path, err)
	}
	return nil
}

// Close ends the writing; the file stays, for a later run.
func (j *Journal) Close() error { return j.file.Close() }

// Remove closes and deletes the journal of a finished run.
func (j *Journal) Remove() error { return errors.Join(j.file.Close(), os.Remove(j.path)) }
