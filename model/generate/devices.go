package generate

import (
	"sync"
	"sync/atomic"

	"github.com/gomlx/gomlx/core/graph"
)

// compiled holds the graphs of a generator, compiled as they are needed, again for each
// shape. A graph that is compiled once runs on every device.
type compiled struct {
	sync.Mutex
	graphs map[kernel]*graph.Exec
	shapes map[string]*Shapes
	price  float64 // as in [Shapes]
}

// Devices is on how many devices prompts are answered at a time.
func (g *Generator) Devices() int { return g.model.Devices() }

// share hands parts out to the devices on which the model lies, the next part to the one
// that is free first, and waits for all; do is called with the generator of that device.
// After an error no more parts are handed out.
func share[T any](g *Generator, parts []T, do func(on *Generator, part T) error) error {
	devices := min(g.model.Devices(), len(parts))
	if devices <= 1 {
		for _, part := range parts {
			if err := do(g, part); err != nil {
				return err
			}
		}
		return nil
	}
	var next, failed atomic.Int32
	errs := make([]error, devices)
	var all sync.WaitGroup
	for device := range devices {
		on := *g
		on.device = device
		all.Go(func() {
			for failed.Load() == 0 {
				i := int(next.Add(1)) - 1
				if i >= len(parts) {
					return
				}
				if errs[device] = do(&on, parts[i]); errs[device] != nil {
					failed.Store(1)
				}
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// counter tells how much is done, one call at a time.
func counter(progress func(done int)) (add func(n int)) {
	if progress == nil {
		return func(int) {}
	}
	var mu sync.Mutex
	done := 0
	return func(n int) {
		mu.Lock()
		defer mu.Unlock()
		done += n
		progress(done)
	}
}

// oneAtATime keeps the devices from emitting at once.
func oneAtATime(emit func(prompt int, piece string) error) func(int, string) error {
	if emit == nil {
		return nil
	}
	var mu sync.Mutex
	return func(prompt int, piece string) error {
		mu.Lock()
		defer mu.Unlock()
		return emit(prompt, piece)
	}
}
