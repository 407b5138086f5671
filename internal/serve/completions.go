package serve

import (
	"net/http"
)

// completionForm writes /v1/completions.
type completionForm struct{ *Server }

type completionObject struct {
	ID      string             `json:"id"`
	Object  string             `json:"object"`
	Created int64              `json:"created"`
	Model   string             `json:"model"`
	Choices []completionChoice `json:"choices"`
	Usage   *usage             `json:"usage,omitempty"`
}

type completionChoice struct {
	Text     string              `json:"text"`
	Index    int                 `json:"index"`
	LogProbs *completionLogProbs `json:"logprobs"`
	Finish   *string             `json:"finish_reason"`
}

func (s *Server) completions(w http.ResponseWriter, r *http.Request, body []byte) error {
	req, err := decode(body, completionFields)
	if err != nil {
		return err
	}
	if err := s.checkModel(req.model); err != nil {
		return err
	}
	if req.prompts == nil {
		return bad("prompt", "prompt is needed: a string, token ids, or a list of either")
	}
	if n := len(req.prompts) * req.n; n > s.limits.Choices {
		return bad("prompt", "%d prompts times n=%d are more than the %d choices that a request may have", len(req.prompts), req.n, s.limits.Choices)
	}
	prompts, texts := make([][]int32, len(req.prompts)), make([]string, len(req.prompts))
	err = s.encode(r.Context(), func() (err error) {
		for i, one := range req.prompts {
			prompts[i], texts[i] = one.ids, one.text
			if one.ids == nil {
				prompts[i], err = s.model.Tokenizer.Encode(one.text, true)
			} else if req.echo {
				if err = s.model.Generator.CheckIDs(one.ids); err == nil {
					texts[i], err = s.model.Tokenizer.Decode(one.ids, true)
				}
			}
			if err != nil {
				return asAPIError(err, "prompt")
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	p, err := s.newPlan(r.Context(), req, "cmpl-", prompts)
	if err != nil {
		return err
	}
	if req.echo {
		p.texts = texts
	}
	return s.respond(w, r, p, completionForm{s})
}

func (f completionForm) object(p *plan) completionObject {
	return completionObject{ID: p.id, Object: "text_completion", Created: p.created, Model: f.model.Name, Choices: []completionChoice{}}
}

// echoed is the text before a choice's own.
func (p *plan) echoed(c *choice) string {
	if p.texts == nil {
		return ""
	}
	return p.texts[c.index/p.n]
}

func (f completionForm) whole(p *plan, choices []*choice, u usage) any {
	o := f.object(p)
	o.Usage = &u
	for _, c := range choices {
		one := completionChoice{Text: p.echoed(c) + c.text.String(), Index: c.index, Finish: &c.finish}
		if p.scores {
			one.LogProbs = f.tokens.completionScores(append(c.prompt, c.tokens...), c.prompt != nil, &c.offsets)
		}
		o.Choices = append(o.Choices, one)
	}
	return o
}

// parts: the echo goes before the first text, and its scores before the first others.
func (f completionForm) parts(p *plan, c *choice, e event) []any {
	one := completionChoice{Text: e.piece.Text, Index: c.index}
	if !c.begun {
		one.Text = p.echoed(c) + one.Text
		c.begun = true
	}
	if one.Text == "" && e.prompt == nil && len(e.piece.Tokens) == 0 && e.piece.Finish == "" {
		return nil
	}
	if e.piece.Finish != "" {
		one.Finish = &e.piece.Finish
	}
	if p.scores {
		one.LogProbs = f.tokens.completionScores(append(e.prompt, e.piece.Tokens...), e.prompt != nil, &c.offsets)
	}
	o := f.object(p)
	o.Choices = append(o.Choices, one)
	return []any{o}
}

func (f completionForm) last(p *plan, u usage) any {
	o := f.object(p)
	o.Usage = &u
	return o
}
