package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"alphalora/internal/fault"
	"alphalora/train"
)

// timeline writes spans as the trace events that Chromium (chrome://tracing) and Perfetto
// show: a JSON array of complete events, in microseconds. The format lets the array stay
// open, so that the file of a run that was killed can be read too.
type timeline struct {
	file  *os.File
	out   *bufio.Writer
	begun time.Time // of the first span
	err   error     // the first, which stays
}

// newTimeline creates the file; without a path nothing is written.
func newTimeline(path string) (*timeline, error) {
	if path == "" {
		return &timeline{}, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fault.Input("--trace "+path, "name a file that can be written", "%v", fault.Reason(err))
	}
	return &timeline{file: f, out: bufio.NewWriter(f)}, nil
}

// lanes are the rows in which spans are shown: what the engine does, and what it waits for.
var lanes = map[string]int{train.SpanAccumulate: 1, train.SpanAwait: 1, train.SpanApply: 1, train.SpanValidation: 1, train.SpanCompile: 2}

func (t *timeline) add(s train.Span) {
	if t.file == nil || t.err != nil {
		return
	}
	open := ",\n"
	if t.begun.IsZero() {
		t.begun = s.Begun
		open = `[{"name":"process_name","ph":"M","pid":1,"args":{"name":"alphalora train"}},
{"name":"thread_name","ph":"M","pid":1,"tid":0,"args":{"name":"host"}},
{"name":"thread_name","ph":"M","pid":1,"tid":1,"args":{"name":"engine"}},
{"name":"thread_name","ph":"M","pid":1,"tid":2,"args":{"name":"compiler"}},
`
	}
	micros := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	_, t.err = fmt.Fprintf(t.out, `%s{"name":%q,"ph":"X","pid":1,"tid":%d,"ts":%.3f,"dur":%.3f,"args":{"step":%d}}`,
		open, s.Name, lanes[s.Name], max(0, micros(s.Begun.Sub(t.begun))), micros(s.Took), s.Step)
	if t.err == nil && s.Name == train.SpanCheckpoint {
		t.err = t.out.Flush()
	}
}

// close ends the file.
func (t *timeline) close() error {
	if t.file == nil {
		return nil
	}
	if t.err == nil && !t.begun.IsZero() {
		_, t.err = t.out.WriteString("\n]\n")
	}
	if err := errors.Join(t.err, t.out.Flush(), t.file.Close()); err != nil {
		return fmt.Errorf("--trace %s: not written: %w", t.file.Name(), err)
	}
	return nil
}

// shares tells where the time of steps went.
func shares(t train.Times) string {
	parts := []string{fmt.Sprintf("engine %.1f %%", 100*(1-t.Idle()))}
	for _, name := range []string{train.SpanData, train.SpanMetrics, train.SpanWatch, train.SpanCheckpoint} {
		parts = append(parts, fmt.Sprintf("%s %.2f %%", name, 100*t.Share(name)))
	}
	return strings.Join(parts, ", ")
}
