package serve

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"alphalora/model/generate"
	"alphalora/model/tokenizer"
)

// request is what a body asks for.
type request struct {
	model     string
	prompts   []prompt
	messages  []tokenizer.Message
	maxTokens int // -1: not said
	n         int
	echo      bool
	scores    bool // logprobs are wanted, with those of top alternatives
	top       int

	stops             []string
	seed              *int64
	temperature, topP float64
	stream, usage     bool
}

// prompt is a text or the ids of its tokens.
type prompt struct {
	text string
	ids  []int32 // nil: a text
}

// field reads one parameter; null is as if it were not there.
type field func(r *request, raw json.RawMessage) error

// shared are the parameters of both endpoints. What cannot be had is taken where it asks
// for nothing, and refused where it would change the answer.
var shared = map[string]field{
	"model":       func(r *request, raw json.RawMessage) error { return text(raw, &r.model) },
	"n":           func(r *request, raw json.RawMessage) error { return integer(raw, 1, 128, &r.n) },
	"max_tokens":  func(r *request, raw json.RawMessage) error { return integer(raw, 0, generate.MaxNew, &r.maxTokens) },
	"temperature": func(r *request, raw json.RawMessage) error { return number(raw, 0, 2, &r.temperature) },
	"top_p":       readTopP,
	"stop":        readStop,
	"seed": func(r *request, raw json.RawMessage) error {
		r.seed = new(int64)
		return read(raw, r.seed, "an integer")
	},
	"stream":         func(r *request, raw json.RawMessage) error { return read(raw, &r.stream, "true or false") },
	"stream_options": readStreamOptions,

	"frequency_penalty": only("0", zero),
	"presence_penalty":  only("0", zero),
	"logit_bias":        only("{}", empty),
	"user":              only("a string", isText),
	"metadata":          only("an object", isObject),
	"store":             only("false", isFalse),
	"service_tier":      only("a string", isText),
	"safety_identifier": only("a string", isText),
	"prompt_cache_key":  only("a string", isText),
}

// completionFields are those of /v1/completions.
var completionFields = with(shared, map[string]field{
	"prompt": readPrompt,
	"echo":   func(r *request, raw json.RawMessage) error { return read(raw, &r.echo, "true or false") },
	"logprobs": func(r *request, raw json.RawMessage) error {
		r.scores = true
		return integer(raw, 0, 5, &r.top)
	},
	"best_of": only("1", func(v any) bool { return v == 1.0 }),
	"suffix":  only(`""`, func(v any) bool { return v == "" }),
})

// chatFields are those of /v1/chat/completions.
var chatFields = with(shared, map[string]field{
	"messages":              readMessages,
	"max_completion_tokens": shared["max_tokens"],
	"logprobs":              func(r *request, raw json.RawMessage) error { return read(raw, &r.scores, "true or false") },
	"top_logprobs":          func(r *request, raw json.RawMessage) error { return integer(raw, 0, generate.MaxTop, &r.top) },
	"response_format":       only(`{"type":"text"}`, isPlainFormat),
	"tools":                 only("[]", empty),
	"functions":             only("[]", empty),
	"tool_choice":           only(`"none" or "auto"`, func(v any) bool { return v == "none" || v == "auto" }),
	"function_call":         only(`"none" or "auto"`, func(v any) bool { return v == "none" || v == "auto" }),
	"parallel_tool_calls":   only("true or false", func(v any) bool { return v == true || v == false }),
	"modalities":            only(`["text"]`, func(v any) bool { list, ok := v.([]any); return ok && len(list) == 1 && list[0] == "text" }),
})

func with(a, b map[string]field) map[string]field {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// decode reads a body strictly.
func decode(body []byte, fields map[string]field) (*request, error) {
	if !utf8.Valid(body) {
		return nil, bad("", "the body is not UTF-8")
	}
	if loneSurrogate(body) {
		return nil, bad("", `the body has a \u escape of half a character`)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(body, &object); err != nil || object == nil {
		return nil, bad("", "the body is not a JSON object: %v", reason(err))
	}
	r := &request{maxTokens: -1, n: 1, temperature: 1, topP: 1}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		raw := object[name]
		field, known := fields[name]
		if !known {
			e := bad("", "unknown parameter: %s", quote(name))
			e.code = "unknown_parameter"
			return nil, e
		}
		if string(raw) == "null" {
			continue
		}
		if err := field(r, raw); err != nil {
			return nil, asAPIError(err, name).about(name)
		}
	}
	if r.usage && !r.stream {
		return nil, bad("stream_options", "stream_options is for stream: true alone")
	}
	return r, nil
}

// about names the parameter that an error is of, unless it says another.
func (e *apiError) about(param string) *apiError {
	if e.param == "" {
		e.param = param
		e.message = param + ": " + e.message
	}
	return e
}

func reason(err error) string {
	if err == nil {
		return "it is null"
	}
	return err.Error()
}

// read reads a value of a kind.
func read(raw json.RawMessage, to any, what string) error {
	if string(raw) == "null" || json.Unmarshal(raw, to) != nil {
		return bad("", "%s is needed, not %s", what, excerpt(raw))
	}
	return nil
}

func excerpt(raw json.RawMessage) string {
	if len(raw) > 60 {
		return strings.ToValidUTF8(string(raw[:60]), "") + "…"
	}
	return string(raw)
}

func text(raw json.RawMessage, to *string) error { return read(raw, to, "a string") }

func integer(raw json.RawMessage, low, high int, to *int) error {
	if err := read(raw, to, "an integer"); err != nil {
		return err
	}
	if *to < low || *to > high {
		return bad("", "%d is not in %d to %d", *to, low, high)
	}
	return nil
}

func number(raw json.RawMessage, low, high float64, to *float64) error {
	if err := read(raw, to, "a number"); err != nil {
		return err
	}
	if math.IsNaN(*to) || *to < low || *to > high {
		return bad("", "%v is not in %v to %v", *to, low, high)
	}
	return nil
}

func readTopP(r *request, raw json.RawMessage) error {
	if err := number(raw, 0, 1, &r.topP); err != nil {
		return err
	}
	r.topP = max(r.topP, 1e-9) // 0 is the likeliest token alone
	return nil
}

// mostStops and longestStop bound what is looked for in every text.
const (
	mostStops   = 64
	longestStop = 4096
)

func readStop(r *request, raw json.RawMessage) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		r.stops = []string{one}
	} else if err := read(raw, &r.stops, "a string or a list of them"); err != nil {
		return err
	}
	if len(r.stops) > mostStops {
		return bad("", "%d texts are more than the %d allowed", len(r.stops), mostStops)
	}
	for _, s := range r.stops {
		if s == "" || len(s) > longestStop {
			return bad("", "a text of 1 to %d bytes is needed", longestStop)
		}
	}
	return nil
}

func readStreamOptions(r *request, raw json.RawMessage) error {
	var options map[string]json.RawMessage
	if err := read(raw, &options, "an object"); err != nil {
		return err
	}
	for name, raw := range options {
		var ignored bool
		switch {
		case string(raw) == "null":
		case name == "include_usage":
			if err := read(raw, &r.usage, "true or false"); err != nil {
				return err
			}
		case name == "include_obfuscation":
			if err := read(raw, &ignored, "true or false"); err != nil {
				return err
			}
		default:
			return bad("", "unknown option %s", quote(name))
		}
	}
	return nil
}

// readPrompt reads a text, a list of texts, token ids or a list of lists of token ids.
func readPrompt(r *request, raw json.RawMessage) error {
	const what = "a string, token ids, or a list of either"
	var one string
	var texts []string
	var ids []int32
	var lists [][]int32
	switch {
	case nullInside(raw):
	case json.Unmarshal(raw, &one) == nil:
		r.prompts = []prompt{{text: one}}
	case json.Unmarshal(raw, &texts) == nil:
		for _, t := range texts {
			r.prompts = append(r.prompts, prompt{text: t})
		}
	case json.Unmarshal(raw, &ids) == nil:
		r.prompts = []prompt{{ids: ids}}
	case json.Unmarshal(raw, &lists) == nil:
		for _, l := range lists {
			if len(l) == 0 {
				return bad("", "a prompt is empty: give at least one token")
			}
			r.prompts = append(r.prompts, prompt{ids: l})
		}
	}
	if len(r.prompts) == 0 {
		return bad("", "%s is needed, not %s", what, excerpt(raw))
	}
	return nil
}

// nullInside tells of a list with a null, which decoding would take for 0 or "".
func nullInside(raw json.RawMessage) bool {
	var v any
	_ = json.Unmarshal(raw, &v)
	return hasNull(v)
}

func hasNull(v any) bool {
	list, ok := v.([]any)
	return v == nil || ok && slices.ContainsFunc(list, hasNull)
}

// only takes a parameter for nothing where its value asks for nothing.
func only(what string, neutral func(v any) bool) field {
	return func(_ *request, raw json.RawMessage) error {
		var v any
		if json.Unmarshal(raw, &v) != nil || !neutral(v) {
			return bad("", "%s is not supported; only %s is", excerpt(raw), what)
		}
		return nil
	}
}

func zero(v any) bool     { return v == 0.0 }
func isText(v any) bool   { _, ok := v.(string); return ok }
func isObject(v any) bool { _, ok := v.(map[string]any); return ok }
func isFalse(v any) bool  { return v == false }

func empty(v any) bool {
	switch v := v.(type) {
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

func isPlainFormat(v any) bool {
	format, ok := v.(map[string]any)
	return ok && len(format) == 1 && format["type"] == "text"
}

// loneSurrogate tells of an escape such as \ud800 without its other half, for which
// decoding would put another character.
func loneSurrogate(body []byte) bool {
	high := false
	for i := 0; i < len(body); {
		if body[i] != '\\' || i+1 >= len(body) {
			if high {
				return true
			}
			i++
			continue
		}
		unit := rune(-1)
		if body[i+1] == 'u' && i+6 <= len(body) {
			unit = hex4(body[i+2 : i+6])
		}
		low := unit >= 0xdc00 && unit < 0xe000
		if high != low {
			return true
		}
		if high = unit >= 0xd800 && unit < 0xdc00; unit >= 0 {
			i += 4
		}
		i += 2
	}
	return high
}

func hex4(digits []byte) rune {
	v := rune(0)
	for _, c := range bytes.ToLower(digits) {
		at := strings.IndexByte("0123456789abcdef", c)
		if at < 0 {
			return -1
		}
		v = v<<4 | rune(at)
	}
	return v
}
