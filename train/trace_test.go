package train

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTimes holds what counts as idle: three steps of 10 ms, of which the engine has 8, and
// one that compiles and does not count.
func TestTimes(t *testing.T) {
	var times Times
	require.Zero(t, times.Idle())
	begun := time.Now()
	at := func(step, ms int, name string, took time.Duration) {
		times.Add(Span{name, step, begun.Add(time.Duration(10*step+ms) * time.Millisecond), took * time.Millisecond})
	}
	for step := range 5 {
		at(step, 0, SpanData, 1)
		if step == 1 {
			times.Add(Span{Name: SpanCompile, Took: time.Second})
		}
		at(step, 1, SpanAccumulate, 3)
		at(step, 4, SpanAccumulate, 3)
		at(step, 7, SpanApply, 2)
	}
	require.Equal(t, 3, times.Steps, "the last one is still open")
	require.Equal(t, 30*time.Millisecond, times.Total)
	require.InDelta(t, 0.2, times.Idle(), 1e-9)
	require.InDelta(t, 0.1, times.Share(SpanData), 1e-9)
}
