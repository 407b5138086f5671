package serve

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"slices"
	"time"

	"alphalora/model/generate"
)

// plan is a request that was checked: its prompts as tokens, and its jobs.
type plan struct {
	*request
	id      string
	created int64
	prompts [][]int32
	texts   []string // of prompts that are echoed
	jobs    []*job
	out     *outbox
}

// usage counts tokens: each prompt once, and of outputs those that are in the text.
type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

// usualNew is how many tokens a completion makes at most that does not say, as OpenAI's.
const usualNew = 16

func (s *Server) checkModel(name string) error {
	if name == "" || name == s.model.Name || slices.Contains(s.model.Aliases, name) {
		return nil
	}
	return &apiError{status: http.StatusNotFound, kind: invalidRequest, param: "model", code: "model_not_found",
		message: "there is no model " + quote(name) + " here: use " + quote(s.model.Name)}
}

// newPlan checks a request against the model and its limits.
func (s *Server) newPlan(ctx context.Context, r *request, prefix string, prompts [][]int32) (*plan, error) {
	p := &plan{request: r, id: prefix + randomID(), created: time.Now().Unix(), prompts: prompts, out: newOutbox()}
	if n := len(prompts) * r.n; n > s.limits.Choices || n > s.limits.Queue {
		return nil, bad("n", "%d prompts times n=%d are more than the %d choices that a request may have", len(prompts), r.n, min(s.limits.Choices, s.limits.Queue))
	}
	seed := randomSeed()
	if r.seed != nil {
		seed = uint64(*r.seed)
	}
	begun := time.Now()
	for _, ids := range prompts {
		limit, err := s.limit(r, len(ids))
		if err != nil {
			return nil, err
		}
		for range r.n {
			o := generate.Options{MaxNewTokens: max(limit, 1), Temperature: r.temperature, TopP: r.topP, Seed: seed, Ends: s.model.Ends, Stops: r.stops,
				Text: func() generate.TextStream { return s.model.Tokenizer.NewStream(true) }}
			index := len(p.jobs)
			j := &job{ctx: ctx, begun: begun, index: index, out: p.out, echoed: r.echo && r.scores, decode: limit > 0,
				asked: generate.Asked{IDs: ids, Options: o, Choice: index, Scores: r.scores, Top: r.top}}
			if err := s.model.Generator.Check(&j.asked); err != nil {
				return nil, asAPIError(err, "prompt")
			}
			p.jobs = append(p.jobs, j)
		}
	}
	return p, nil
}

// limit is the number of new tokens of a prompt at most.
func (s *Server) limit(r *request, prompt int) (int, error) {
	room, wanted := s.model.Context-prompt, r.maxTokens
	if wanted < 0 {
		if wanted = room; r.messages == nil {
			wanted = min(room, usualNew)
		}
		if s.limits.MaxNewTokens > 0 {
			wanted = min(wanted, s.limits.MaxNewTokens)
		}
		wanted = max(wanted, 1)
	} else if s.limits.MaxNewTokens > 0 && wanted > s.limits.MaxNewTokens {
		return 0, bad("max_tokens", "%d new tokens are more than the server's limit of %d", wanted, s.limits.MaxNewTokens)
	}
	if wanted > room {
		e := bad("prompt", "the prompt's %d tokens and %d new ones are more than the model's context of %d", prompt, wanted, s.model.Context)
		if e.code = "context_length_exceeded"; r.messages != nil {
			e.param = "messages"
		}
		return 0, e
	}
	return wanted, nil
}

// encode turns texts into tokens, few of them at a time for that takes whole cores.
func (s *Server) encode(ctx context.Context, work func() error) error {
	select {
	case s.encoders <- struct{}{}:
		defer func() { <-s.encoders }()
		return work()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// submit queues a plan's jobs.
func (s *Server) submit(p *plan) error {
	if s.queue.add(p.jobs) {
		return nil
	}
	s.metrics.refused.WithLabelValues("queue").Inc()
	return busy("the queue is full: %d choices wait, and at most %d may", s.queue.length(), s.limits.Queue)
}

func randomID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func randomSeed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}
