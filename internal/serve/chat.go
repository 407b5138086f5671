package serve

import (
	"net/http"
)

// chatForm writes /v1/chat/completions.
type chatForm struct{ *Server }

type chatObject struct {
	ID      string       `json:"id"`
	Object  string       `json:"object"`
	Created int64        `json:"created"`
	Model   string       `json:"model"`
	Choices []chatChoice `json:"choices"`
	Usage   *usage       `json:"usage,omitempty"`
}

type chatChoice struct {
	Index    int           `json:"index"`
	Message  *chatMessage  `json:"message,omitempty"`
	Delta    *chatDelta    `json:"delta,omitempty"`
	LogProbs *chatLogProbs `json:"logprobs"`
	Finish   *string       `json:"finish_reason"`
}

type chatMessage struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

type chatDelta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

func (s *Server) chat(w http.ResponseWriter, r *http.Request, body []byte) error {
	req, err := decode(body, chatFields)
	if err != nil {
		return err
	}
	if err := s.checkModel(req.model); err != nil {
		return err
	}
	switch {
	case req.messages == nil:
		return bad("messages", "messages is needed")
	case req.top > 0 && !req.scores:
		return bad("top_logprobs", "top_logprobs needs logprobs: true")
	case req.maxTokens == 0:
		return bad("max_tokens", "an answer of no tokens is none: use 1 or more")
	}
	var ids []int32
	err = s.encode(r.Context(), func() (err error) {
		ids, _, err = s.model.Tokenizer.Chat(req.messages, true)
		return err
	})
	if err != nil {
		return asAPIError(err, "messages")
	}
	p, err := s.newPlan(r.Context(), req, "chatcmpl-", [][]int32{ids})
	if err != nil {
		return err
	}
	return s.respond(w, r, p, chatForm{s})
}

func (f chatForm) object(p *plan, kind string) chatObject {
	return chatObject{ID: p.id, Object: kind, Created: p.created, Model: f.model.Name, Choices: []chatChoice{}}
}

func (f chatForm) whole(p *plan, choices []*choice, u usage) any {
	o := f.object(p, "chat.completion")
	o.Usage = &u
	for _, c := range choices {
		one := chatChoice{Index: c.index, Message: &chatMessage{Role: "assistant", Content: c.text.String()}, Finish: &c.finish}
		if p.scores {
			one.LogProbs = f.tokens.chatScores(c.tokens)
		}
		o.Choices = append(o.Choices, one)
	}
	return o
}

func (f chatForm) chunk(p *plan, c *choice, d chatDelta) chatObject {
	o := f.object(p, "chat.completion.chunk")
	o.Choices = append(o.Choices, chatChoice{Index: c.index, Delta: &d})
	return o
}

// parts: the role, then text as it comes, then why it ended.
func (f chatForm) parts(p *plan, c *choice, e event) []any {
	var list []any
	if !c.begun {
		none := ""
		list = append(list, f.chunk(p, c, chatDelta{Role: "assistant", Content: &none}))
		c.begun = true
	}
	if e.piece.Text != "" || p.scores && len(e.piece.Tokens) > 0 {
		o := f.chunk(p, c, chatDelta{Content: &e.piece.Text})
		if p.scores {
			o.Choices[0].LogProbs = f.tokens.chatScores(e.piece.Tokens)
		}
		list = append(list, o)
	}
	if e.piece.Finish != "" {
		o := f.chunk(p, c, chatDelta{})
		o.Choices[0].Finish = &e.piece.Finish
		list = append(list, o)
	}
	return list
}

func (f chatForm) last(p *plan, u usage) any {
	o := f.object(p, "chat.completion.chunk")
	o.Usage = &u
	return o
}
