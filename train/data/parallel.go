package data

import "sync"

// inOrder applies work to what produce emits, on several goroutines, and hands the results
// to take in the order in which they were emitted. The first error of take ends everything:
// emit then returns false. No goroutine is left when it returns.
func inOrder[A, B any](workers int, produce func(emit func(A) bool) error, work func(A) B, take func(B) error) error {
	type task struct {
		in  A
		out chan B
	}
	queue, order, stop := make(chan *task, workers), make(chan *task, workers), make(chan struct{})
	var running sync.WaitGroup
	var produced error
	running.Go(func() {
		defer close(order)
		defer close(queue)
		produced = produce(func(a A) bool {
			t := &task{a, make(chan B, 1)}
			for _, channel := range []chan *task{order, queue} {
				select {
				case channel <- t:
				case <-stop:
					return false
				}
			}
			return true
		})
	})
	for range workers {
		running.Go(func() {
			for t := range queue {
				t.out <- work(t.in)
			}
		})
	}
	var err error
	for t := range order {
		if err = take(<-t.out); err != nil {
			break
		}
	}
	close(stop)
	running.Wait()
	if err != nil {
		return err
	}
	return produced
}
