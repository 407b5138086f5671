package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"unicode/utf8"

	"alphalora/model/tokenizer"
)

// record is the fields of one record, each as JSON text. A null is as good as absent.
type record map[string]json.RawMessage

var (
	errNotText   = errors.New("is not UTF-8: convert the file")
	errSurrogate = errors.New("has half a surrogate pair: \\ud800 to \\udfff come in twos")
)

// maxDepth bounds the nesting of a record.
const maxDepth = 256

// decode reads the fields of a record. Nothing is bent: text that JSON would repair
// without a word is refused.
func decode(text []byte) (record, error) {
	if !utf8.Valid(text) {
		return nil, errNotText
	}
	if loneSurrogate(text) {
		return nil, errSurrogate
	}
	if depthOf(text) > maxDepth {
		return nil, fmt.Errorf("nests deeper than %d", maxDepth)
	}
	var r record
	err := json.Unmarshal(text, &r)
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		return nil, fmt.Errorf("is a %s, not a record", wrong.Value)
	case err != nil:
		return nil, fmt.Errorf("is not a JSON record: %w", err)
	case r == nil:
		return nil, errors.New("is a null, not a record")
	}
	return r, nil
}

func (r record) has(key string) bool {
	raw, ok := r[key]
	return ok && string(raw) != "null"
}

// read decodes a field into a value, if it is there.
func (r record) read(key string, into any) error {
	if !r.has(key) {
		return nil
	}
	err := json.Unmarshal(r[key], into)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		need := map[reflect.Kind]string{reflect.String: "text", reflect.Slice: "a list", reflect.Int32: "a token id", reflect.Struct: "a record"}[wrong.Type.Kind()]
		if wrong.Field != "" {
			key += "." + wrong.Field
		}
		return fmt.Errorf("has a %s in %s: %s is needed", wrong.Value, key, need)
	}
	return err
}

func (r record) text(key string) (text string, err error) {
	err = r.read(key, &text)
	return text, err
}

// integers reads a list of token ids.
func (r record) integers(key string) (list []int32, err error) {
	if err = r.read(key, &list); err == nil && bytes.Contains(r[key], []byte("null")) && r.has(key) {
		err = fmt.Errorf("has a null in %s: a token id is needed", key)
	}
	return list, err
}

// maxTurns bounds a conversation, whose beginnings are each written by the template.
const maxTurns = 512

// messages reads the turns of a conversation.
func (r record) messages() ([]tokenizer.Message, error) {
	var turns []struct {
		Role    *string `json:"role"`
		Content *string `json:"content"`
	}
	if err := r.read("messages", &turns); err != nil {
		return nil, err
	}
	if len(turns) == 0 || len(turns) > maxTurns {
		return nil, fmt.Errorf("has %d messages: 1 to %d are needed", len(turns), maxTurns)
	}
	list := make([]tokenizer.Message, len(turns))
	for i, t := range turns {
		if t.Role == nil || t.Content == nil {
			return nil, fmt.Errorf("has no role or no content in message %d", i+1)
		}
		list[i] = tokenizer.Message{Role: *t.Role, Content: *t.Content}
	}
	return list, nil
}

// loneSurrogate finds a \uD800 to \uDFFF escape without its other half.
func loneSurrogate(text []byte) bool {
	for {
		at := bytes.IndexByte(text, '\\')
		if at < 0 || at+1 >= len(text) {
			return false
		}
		text = text[at:]
		switch unit := escaped(text); {
		case unit < 0: // another escape
			text = text[2:]
		case unit < 0xd800 || unit > 0xdfff:
			text = text[6:]
		default:
			next := escaped(text[6:])
			if unit > 0xdbff || next < 0xdc00 || next > 0xdfff {
				return true
			}
			text = text[12:]
		}
	}
}

// escaped is the number of a \uXXXX at the beginning of text, or -1.
func escaped(text []byte) int {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return int(n)
}

// depthOf is how deep brackets nest outside of strings.
func depthOf(text []byte) (deepest int) {
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}
