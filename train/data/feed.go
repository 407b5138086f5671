package data

import (
	"context"
	"sync"
	"time"
)

// ahead is how many steps are made ready before they are asked for.
const ahead = 2

// Feed makes steps ready in the background, in their order.
type Feed struct {
	ready  chan prepared
	stop   chan struct{}
	once   sync.Once
	ended  sync.WaitGroup
	waited time.Duration
	failed error // the first error, which stays
}

type prepared struct {
	batches []Batch
	err     error
}

// Start feeds from a step on. The batcher must not be used beside it until it is stopped.
func (b *Batcher) Start(step int) *Feed {
	f := &Feed{ready: make(chan prepared, ahead), stop: make(chan struct{})}
	f.ended.Go(func() {
		for ; ; step++ {
			batches, err := b.Step(step)
			select {
			case f.ready <- prepared{batches, err}:
			case <-f.stop:
				return
			}
			if err != nil {
				return
			}
		}
	})
	return f
}

// Next returns the micro-batches of the next step.
func (f *Feed) Next(ctx context.Context) ([]Batch, error) {
	if f.failed != nil {
		return nil, f.failed
	}
	begun := time.Now()
	select {
	case p := <-f.ready:
		f.waited += time.Since(begun)
		f.failed = p.err
		return p.batches, p.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-f.stop:
		return nil, context.Canceled
	}
}

// Waited is how long Next has waited for batches: time in which the engine had no work.
func (f *Feed) Waited() time.Duration { return f.waited }

// Stop ends the work in the background and waits for its end.
func (f *Feed) Stop() {
	f.once.Do(func() { close(f.stop) })
	f.ended.Wait()
}
