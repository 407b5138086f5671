package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"

	"alphalora/train"
)

// maxSpans bounds what a [trace] keeps of a run of any length.
const maxSpans = 512

// span is what stays of the values of successive steps.
type span struct {
	first, count   int // the first step, and how many steps have a value
	low, high, sum float64
}

func (s span) mean() float64 { return s.sum / float64(s.count) }

// trace keeps one value of each step: of short runs every one, of long ones the least, the
// largest and the mean of equal spans of steps, whose width doubles whenever there are too
// many. It depends on the values alone, not on when they came.
type trace struct {
	width int // steps of a span
	spans []span
}

func (t *trace) add(step int, v float64) {
	if t.width == 0 {
		t.width = 1
	}
	t.put(span{step, 1, v, v, v})
	for len(t.spans) > maxSpans {
		t.width *= 2
		old := t.spans
		t.spans = nil
		for _, s := range old {
			t.put(s)
		}
	}
}

// put adds a span to the last one, or behind it where it begins in another stretch of
// t.width steps.
func (t *trace) put(s span) {
	last := len(t.spans) - 1
	if last < 0 || (t.spans[last].first-1)/t.width != (s.first-1)/t.width {
		t.spans = append(t.spans, s)
		return
	}
	l := &t.spans[last]
	l.count, l.low, l.high, l.sum = l.count+s.count, min(l.low, s.low), max(l.high, s.high), l.sum+s.sum
}

// curves are the traces of a run's metrics, by the names under which TensorBoard shows them.
type curves struct {
	traces map[string]*trace
	last   map[string]float64 // of the last step
	steps  int
}

func newCurves() *curves { return &curves{traces: map[string]*trace{}} }

// add takes the values of a step.
func (c *curves) add(step int, values map[string]float64) {
	c.steps, c.last = step, values
	for name, v := range values {
		if c.traces[name] == nil {
			c.traces[name] = &trace{}
		}
		c.traces[name].add(step, v)
	}
}

// read takes the steps before a given one from the metrics of a run. It reads line by line:
// memory does not grow with the run.
func (c *curves) read(path string, before int) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for lines := json.NewDecoder(bufio.NewReader(f)); ; {
		var row map[string]any
		switch err := lines.Decode(&row); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%s: after step %d: %w", path, c.steps, err)
		}
		step, _ := row["step"].(float64)
		if int(step) >= before {
			return nil
		}
		c.add(int(step), scalars(row))
	}
}

// scalars are the numbers of one line of metrics.jsonl by their keys, a list's by key/layer_00
// and so on, and the tokens of a second. What is not finite, which no chart can show, is
// left out; a training that meets such a loss stops by itself.
func scalars(row map[string]any) map[string]float64 {
	values := map[string]float64{}
	put := func(name string, v any) {
		if f, ok := v.(float64); ok && !math.IsNaN(f) && !math.IsInf(f, 0) {
			values[name] = f
		}
	}
	for key, v := range row {
		if list, ok := v.([]any); ok {
			for i, one := range list {
				put(layerTag(key, i), one)
			}
			continue
		}
		put(key, v)
	}
	delete(values, "step")
	if seconds := values["seconds"]; seconds > 0 {
		values["tokens_per_second"] = values["tokens"] / seconds
	}
	return values
}

func layerTag(key string, layer int) string { return fmt.Sprintf("%s/layer_%02d", key, layer) }

// metricsRow is a line of metrics.jsonl, so that metrics which are added there are seen
// here without more ado.
func metricsRow(m train.Metrics) (map[string]any, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	var row map[string]any
	return row, json.Unmarshal(text, &row)
}
