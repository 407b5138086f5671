package train

import "time"

// What a run does with its time, as spans are called.
const (
	SpanData       = "data"       // waiting for the next batches
	SpanAccumulate = "accumulate" // forward and backward pass of a micro-batch, in the engine
	SpanAwait      = "await"      // what of those the engine had not done when they were handed over
	SpanApply      = "apply"      // the optimiser, in the engine
	SpanValidation = "validation" // in the engine, nearly all of it
	SpanMetrics    = "metrics"    // writing the line of metrics.jsonl
	SpanWatch      = "watch"      // whatever Options.Progress does
	SpanCheckpoint = "checkpoint" // writing one, and dropping old ones
	SpanCompile    = "compile"    // part of accumulate, apply or validation; of no step
)

// Span is a stretch of a run's time. The spans of a step do not overlap, but for compile.
type Span struct {
	Name  string
	Step  int // from 1
	Begun time.Time
	Took  time.Duration
}

// timed begins a span, which ends when the function is called that it returns.
func (s settings) timed(name string, step int) (end func()) {
	if s.trace == nil {
		return func() {}
	}
	begun := time.Now()
	return func() { s.trace(Span{name, step, begun, time.Since(begun)}) }
}

// Times adds up where the time of steps went. Steps in which something was compiled are left
// out, as they tell nothing of the others; so is the last one, whose end no other step marks.
// The zero value is ready.
type Times struct {
	Steps  int
	Total  time.Duration
	By     map[string]time.Duration // by the names of spans
	begun  time.Time                // of the step at hand
	at     map[string]time.Duration // its spans
	spoilt bool                     // something was compiled in it
}

// Add takes the next span.
func (t *Times) Add(s Span) {
	switch s.Name {
	case SpanCompile:
		t.spoilt = true
		return
	case SpanData:
		t.close(s.Begun)
	}
	if t.at == nil {
		t.at = map[string]time.Duration{}
	}
	t.at[s.Name] += s.Took
}

// close ends the step at hand where the next one begins.
func (t *Times) close(next time.Time) {
	if t.at != nil && !t.spoilt {
		if t.By == nil {
			t.By = map[string]time.Duration{}
		}
		t.Steps, t.Total = t.Steps+1, t.Total+next.Sub(t.begun)
		for name, took := range t.at {
			t.By[name] += took
		}
	}
	t.begun, t.at, t.spoilt = next, nil, false
}

// Share is the part of the time that went into spans of some names, 0 to 1.
func (t *Times) Share(names ...string) float64 {
	if t.Total <= 0 {
		return 0
	}
	var sum time.Duration
	for _, name := range names {
		sum += t.By[name]
	}
	return sum.Seconds() / t.Total.Seconds()
}

// Idle is the part of the time, 0 to 1, in which the engine had no work: no pass, no
// optimiser and no validation was handed to it.
func (t *Times) Idle() float64 {
	if t.Total <= 0 {
		return 0
	}
	return 1 - t.Share(SpanAccumulate, SpanAwait, SpanApply, SpanValidation)
}
