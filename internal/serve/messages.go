package serve

import (
	"encoding/json"
	"strings"

	"alphalora/model/tokenizer"
)

// readMessages reads the turns of a conversation: {role, content}, where content is a text
// or a list of parts of type text, which are joined as they stand.
func readMessages(r *request, raw json.RawMessage) error {
	var list []map[string]json.RawMessage
	if err := read(raw, &list, "a list of messages"); err != nil {
		return err
	}
	if len(list) == 0 {
		return bad("", "at least one message is needed")
	}
	for i, m := range list {
		message, err := readMessage(m)
		if err != nil {
			return bad("", "message %d: %v", i, err)
		}
		r.messages = append(r.messages, message)
	}
	return nil
}

func readMessage(m map[string]json.RawMessage) (message tokenizer.Message, err error) {
	for name, raw := range m {
		switch {
		case name == "role":
			err = text(raw, &message.Role)
		case name == "content":
			message.Content, err = readContent(raw)
		case string(raw) == "null", (name == "tool_calls" || name == "annotations") && string(raw) == "[]":
		default: // a name, a tool's call or answer, a refusal
			err = bad("", "%s is not supported", quote(name))
		}
		if err != nil {
			return message, err
		}
	}
	if message.Role == "" || m["content"] == nil {
		return message, bad("", "role and content are needed")
	}
	return message, nil
}

func readContent(raw json.RawMessage) (string, error) {
	var whole string
	if string(raw) != "null" && json.Unmarshal(raw, &whole) == nil {
		return whole, nil
	}
	var parts []map[string]json.RawMessage
	if err := read(raw, &parts, "a string or a list of parts"); err != nil {
		return "", err
	}
	var joined strings.Builder
	for _, part := range parts {
		var kind, piece string
		if text(part["type"], &kind) != nil || kind != "text" {
			return "", bad("", "only parts of type text are supported")
		}
		if len(part) != 2 || text(part["text"], &piece) != nil {
			return "", bad("", "a part of type text has a text and nothing else")
		}
		joined.WriteString(piece)
	}
	return joined.String(), nil
}
