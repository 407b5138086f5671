package serve

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"

	"alphalora/model/generate"
)

// choice is what has come of one choice.
type choice struct {
	index   int
	text    strings.Builder
	prompt  []generate.Scored // where the prompt is echoed with its scores
	tokens  []generate.Scored
	finish  string
	begun   bool
	offsets offsets
}

// form is how an endpoint writes its answers.
type form interface {
	// whole is the answer to a request without a stream.
	whole(p *plan, choices []*choice, u usage) any
	// parts are the objects of a stream that an event becomes, after choice c has noted it.
	parts(p *plan, c *choice, e event) []any
	// last is the object that tells the usage at a stream's end.
	last(p *plan, u usage) any
}

// respond runs a plan and writes its answer.
func (s *Server) respond(w http.ResponseWriter, r *http.Request, p *plan, f form) error {
	if err := s.submit(p); err != nil {
		return err
	}
	choices := make([]*choice, len(p.jobs))
	for i := range choices {
		choices[i] = &choice{index: i, offsets: offsets{stream: s.model.Tokenizer.NewStream(true)}}
	}
	out := &sender{w: w, plan: p, form: f}
	for left := len(choices); left > 0; {
		events, err := p.out.wait(r.Context())
		if err != nil {
			return err
		}
		for _, e := range events {
			if e.err != nil {
				return s.broken(out, e.err)
			}
			c := choices[e.index]
			c.note(e)
			if e.piece.Finish != "" {
				left--
			}
			if err := out.send(c, e); err != nil {
				return err
			}
		}
		if err := out.flush(); err != nil {
			return err
		}
	}
	u := p.count(choices)
	if a, ok := w.(*answer); ok {
		a.usage = u
	}
	return out.end(choices, u)
}

// broken tells of an error in the middle: where the stream has begun, as a part of it.
func (s *Server) broken(out *sender, err error) error {
	if !out.begun {
		return err
	}
	s.log.Error("failed", "error", err.Error())
	if err := out.object(asAPIError(err, "").body()); err != nil {
		return err
	}
	return out.flush()
}

func (c *choice) note(e event) {
	c.text.WriteString(e.piece.Text)
	c.tokens = append(c.tokens, e.piece.Tokens...)
	if e.prompt != nil {
		c.prompt = e.prompt
	}
	c.finish = e.piece.Finish
}

// count counts the tokens of a finished plan.
func (p *plan) count(choices []*choice) usage {
	var u usage
	for _, ids := range p.prompts {
		u.Prompt += len(ids)
	}
	for _, c := range choices {
		u.Completion += len(c.tokens)
	}
	u.Total = u.Prompt + u.Completion
	return u
}

// sender writes server-sent events where the plan streams.
type sender struct {
	w     http.ResponseWriter
	plan  *plan
	form  form
	begun bool
	held  bytes.Buffer
}

func (o *sender) send(c *choice, e event) error {
	if !o.plan.stream {
		return nil
	}
	for _, object := range o.form.parts(o.plan, c, e) {
		if err := o.object(object); err != nil {
			return err
		}
	}
	return nil
}

func (o *sender) object(v any) error {
	if !o.begun {
		o.begun = true
		o.w.Header().Set("Content-Type", "text/event-stream")
		o.w.Header().Set("Cache-Control", "no-cache")
	}
	o.held.WriteString("data: ")
	encoder := json.NewEncoder(&o.held)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err
	}
	o.held.WriteByte('\n')
	return nil
}

// flush sends what is held, all events of a round at once.
func (o *sender) flush() error {
	if o.held.Len() == 0 {
		return nil
	}
	defer o.held.Reset()
	if _, err := o.w.Write(o.held.Bytes()); err != nil {
		return err
	}
	return http.NewResponseController(o.w).Flush()
}

func (o *sender) end(choices []*choice, u usage) error {
	if !o.plan.stream {
		writeJSON(o.w, http.StatusOK, o.form.whole(o.plan, choices, u))
		return nil
	}
	if o.plan.request.usage {
		if err := o.object(o.form.last(o.plan, u)); err != nil {
			return err
		}
	}
	o.held.WriteString("data: [DONE]\n\n")
	return o.flush()
}
