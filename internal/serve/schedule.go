package serve

import (
	"context"
	"sync"
	"time"

	"alphalora/model/generate"
)

// job is one choice of a request on its way.
type job struct {
	ctx    context.Context
	begun  time.Time
	asked  generate.Asked
	echoed bool // the prompt's own scores are wanted, and not told yet
	decode bool // tokens are wanted
	index  int  // of the choice
	out    *outbox
}

// event is what an outbox holds: a part of a choice, or the error that ends the request.
type event struct {
	index  int
	prompt []generate.Scored // the prompt's scores, told once
	piece  generate.Piece
	err    error
}

// outbox hands events from the scheduler to a request's handler, without ever waiting.
type outbox struct {
	mu     sync.Mutex
	events []event
	ready  chan struct{}
}

func newOutbox() *outbox { return &outbox{ready: make(chan struct{}, 1)} }

func (o *outbox) put(e event) {
	o.mu.Lock()
	o.events = append(o.events, e)
	o.mu.Unlock()
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// wait returns what has come, or the error of a context that ended.
func (o *outbox) wait(ctx context.Context) ([]event, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-o.ready:
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	events := o.events
	o.events = nil
	return events, nil
}

// queue holds the jobs that wait, in the order in which they came.
type queue struct {
	mu    sync.Mutex
	jobs  []*job
	most  int
	ready chan struct{}
}

func newQueue(most int) *queue { return &queue{most: most, ready: make(chan struct{}, 1)} }

// add takes all jobs of a request in, or none.
func (q *queue) add(jobs []*job) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.jobs)+len(jobs) > q.most {
		return false
	}
	q.jobs = append(q.jobs, jobs...)
	select {
	case q.ready <- struct{}{}:
	default:
	}
	return true
}

// take removes those whose clients left, and returns the first n of the others.
func (q *queue) take(n int) []*job {
	q.mu.Lock()
	defer q.mu.Unlock()
	var taken, left []*job
	for _, j := range q.jobs {
		switch {
		case j.ctx.Err() != nil:
		case len(taken) < n:
			taken = append(taken, j)
		default:
			left = append(left, j)
		}
	}
	q.jobs = left
	return taken
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.jobs)
}

// schedule owns the model until stop is closed.
func (s *Server) schedule(stop <-chan struct{}) {
	pool := generate.NewPool(s.model.Generator, s.limits.Rows)
	defer pool.Drop()
	for {
		if pool.Live() == 0 && s.queue.length() == 0 {
			s.metrics.running.Set(0)
			pool.Drop()
			select {
			case <-stop:
			case <-s.queue.ready:
			}
		}
		select {
		case <-stop:
			return
		default:
		}
		s.admit(pool)
		if pool.Live() > 0 {
			s.round(pool)
		}
	}
}

// admit gives free rows to jobs that wait; those that only ask for scores need none.
func (s *Server) admit(pool *generate.Pool) {
	for _, j := range s.queue.take(pool.Free()) {
		if err := s.start(pool, j); err != nil {
			j.out.put(event{index: j.index, err: err})
		}
	}
}

// round decodes some tokens of each row.
func (s *Server) round(pool *generate.Pool) {
	live, begun := pool.Live(), time.Now()
	s.metrics.running.Set(float64(live))
	if err := pool.Round(context.Background()); err != nil {
		s.log.Error("a round failed", "error", err.Error())
	}
	took := time.Since(begun)
	s.metrics.rounds.Observe(took.Seconds())
	s.linger(live-pool.Live(), min(took/4, longestLinger))
}

// longestLinger is the time for which rows wait at most for those that come next.
const longestLinger = 20 * time.Millisecond

// linger gives clients whose answers are complete a moment to ask again: those that come
// together are read together, and rows are not left idle for a round.
func (s *Server) linger(finished int, most time.Duration) {
	if finished == 0 {
		return
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	for s.queue.length() < finished {
		select {
		case <-s.queue.ready:
		case <-timer.C:
			return
		}
	}
}

// start tells the scores of a job's prompt, where they are wanted, and adds it to the pool.
func (s *Server) start(pool *generate.Pool, j *job) error {
	if j.echoed {
		scores, err := s.model.Generator.Score(j.ctx, [][]int32{j.asked.IDs}, j.asked.Top)
		if err != nil {
			return err
		}
		j.out.put(event{index: j.index, prompt: scores[0]})
	}
	if !j.decode {
		j.out.put(event{index: j.index, piece: generate.Piece{Finish: generate.AtLimit}})
		return nil
	}
	first := true
	j.asked.Take = func(p generate.Piece) error {
		if first {
			s.metrics.firstToken.Observe(time.Since(j.begun).Seconds())
			first = false
		}
		j.out.put(event{index: j.index, piece: p})
		return j.ctx.Err()
	}
	j.asked.Lost = func(err error) { j.out.put(event{index: j.index, err: err}) }
	return pool.Add(&j.asked)
}
