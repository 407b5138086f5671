package benchmark

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// problem is a record as its benchmark understands it.
type problem struct {
	id, instruction, input string
	output                 string // training text; empty: what the format writes
	gold                   Answer
	choices                []string
	options                []string // texts of the choices
	skipped                bool     // it belongs to the file, and not to the benchmark
}

// decoder turns a record into a problem; its errors continue "record 3: ".
type decoder func(b Benchmark, f fields) (problem, error)

// fields are a record's, by exact name.
type fields map[string]json.RawMessage

func (f fields) has(key string) bool {
	raw, ok := f[key]
	return ok && string(raw) != "null"
}

// text is a field that must be there and must be a string.
func (f fields) text(key string) (string, error) {
	if !f.has(key) {
		return "", fmt.Errorf("the field %q is missing", key)
	}
	var s string
	if err := json.Unmarshal(f[key], &s); err != nil {
		return "", fmt.Errorf("the field %q is not a string", key)
	}
	return s, nil
}

// texts reads several fields that must be strings.
func (f fields) texts(keys ...string) ([]string, error) {
	all := make([]string, len(keys))
	for i, key := range keys {
		var err error
		if all[i], err = f.text(key); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// optional is a string field, empty where it is absent or null.
func (f fields) optional(key string) (string, error) {
	if !f.has(key) {
		return "", nil
	}
	return f.text(key)
}

// scalar is a string or a number, as text; empty where it is absent or null.
func (f fields) scalar(key string) (string, error) {
	if !f.has(key) {
		return "", nil
	}
	var number json.Number
	if f[key][0] != '"' && json.Unmarshal(f[key], &number) == nil {
		return number.String(), nil
	}
	s, err := f.text(key)
	if err != nil {
		return "", fmt.Errorf("the field %q is neither a string nor a number", key)
	}
	return s, nil
}

// firstScalar is [fields.scalar] of the first of several keys that is there.
func (f fields) firstScalar(keys ...string) (string, error) {
	for _, key := range keys {
		if f.has(key) {
			return f.scalar(key)
		}
	}
	return "", nil
}

// open brings up the members of a field that is an object.
func (f fields) open(key string) fields {
	var members fields
	if json.Unmarshal(f[key], &members) != nil {
		return f
	}
	opened := maps.Clone(f)
	maps.Copy(opened, members)
	return opened
}

// choices reads ["red", "blue"], {"text": [..], "label": ["A", "B"]} or
// [{"text": .., "label": "A"}, ..]; labels must be the letters from A on.
func (f fields) choices() ([]string, error) {
	if !f.has("choices") {
		return nil, fmt.Errorf("the field %q is missing", "choices")
	}
	var list []string
	var table struct{ Text, Label []string }
	var pairs []struct{ Text, Label string }
	switch {
	case json.Unmarshal(f["choices"], &list) == nil:
		table.Label = letters(len(list))
	case json.Unmarshal(f["choices"], &table) == nil:
		list = table.Text
	case json.Unmarshal(f["choices"], &pairs) == nil:
		list, table.Label = nil, nil // what the attempts above left
		for _, p := range pairs {
			list, table.Label = append(list, p.Text), append(table.Label, p.Label)
		}
	default:
		return nil, errors.New(`the field "choices" is neither a list of strings nor of {"text", "label"}, nor {"text", "label"} lists`)
	}
	if len(list) < 2 || len(list) > 26 {
		return nil, fmt.Errorf("it has %d choices; 2 to 26 can be lettered", len(list))
	}
	if len(list) <= 26 && !slices.Equal(table.Label, letters(len(list))) {
		return nil, fmt.Errorf("its %d choices are labelled %s, not by the letters from A on", len(list), clip(strings.Join(table.Label, ", ")))
	}
	if i := slices.IndexFunc(list, func(s string) bool { return strings.TrimSpace(s) == "" }); i >= 0 {
		return nil, fmt.Errorf("its choice %s is empty", letters(26)[i])
	}
	return list, nil
}

// letters are the first n capital letters, at most 26.
func letters(n int) []string {
	all := strings.Split("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "")
	return all[:min(n, len(all))]
}

// lettersIn finds the options "(A) .. (B) .." of an instruction, after its last
// "Options:" where it has one.
func lettersIn(text string) ([]string, error) {
	rest := text[max(0, strings.LastIndex(text, "Options:")):]
	n := 0
	for _, letter := range letters(26) {
		_, after, ok := strings.Cut(rest, "("+letter+")")
		if !ok {
			break
		}
		rest = after
		n++
	}
	if n < 2 {
		return nil, errors.New(`it has no choices: options must be written "(A) .. (B) .."`)
	}
	return letters(n), nil
}

// optionLine writes options as the multiple-choice prompts have them.
func optionLine(texts []string) string {
	var line strings.Builder
	line.WriteString("Options:")
	for i, letter := range letters(len(texts)) {
		line.WriteString(" (" + letter + ") " + texts[i])
	}
	return line.String() + "\n"
}

// instruction decodes the ready-made {instruction, input, output} records, which
// may state their answer and choices in fields of those names too.
func instruction(b Benchmark, f fields) (problem, error) {
	text, err := f.texts("instruction", "output")
	if err != nil {
		return problem{}, err
	}
	p := problem{instruction: text[0], output: text[1]}
	if p.input, err = f.optional("input"); err != nil {
		return problem{}, err
	}
	if p.id, err = f.scalar("id"); err != nil {
		return problem{}, err
	}
	answer, err := f.scalar("answer")
	if err != nil {
		return problem{}, err
	}
	if p.choices, err = b.Format.options(b.Labels, f, p.instruction+p.input); err != nil {
		return problem{}, err
	}
	if b.Format == Choice && f.has("choices") {
		if p.options, err = f.choices(); err != nil {
			return problem{}, err
		}
	}
	p.gold, err = b.Format.gold(answer, p.output, p.choices)
	return p, err
}

// question is the decoder of lettered questions: ready-made records as they are,
// others with the prompt that stem builds and the right choice in the field key.
func question(key string, stem func(f fields) (string, error)) decoder {
	return func(b Benchmark, f fields) (problem, error) {
		if f.has("instruction") {
			return instruction(b, f)
		}
		f = f.open("question")
		texts, err := f.choices()
		if err != nil {
			return problem{}, err
		}
		head, err := stem(f)
		if err != nil {
			return problem{}, err
		}
		p := problem{instruction: head + optionLine(texts), choices: letters(len(texts)), options: texts}
		if p.id, err = f.scalar("id"); err != nil {
			return problem{}, err
		}
		p.gold, err = f.letter(key, len(texts))
		return p, err
	}
}

// letter is the right one of n choices: a letter, or a number from 0.
func (f fields) letter(key string, n int) (Answer, error) {
	answer, err := f.scalar(key)
	if err != nil {
		return "", err
	}
	if !f.has(key) {
		return "", fmt.Errorf("the field %q is missing", key)
	}
	if i, err := strconv.Atoi(answer); err == nil && i >= 0 && i < n && f[key][0] != '"' {
		return Answer(letters(n)[i]), nil
	}
	if !slices.Contains(letters(n), answer) {
		return "", fmt.Errorf("its answer %q is none of its %d choices", clip(answer), n)
	}
	return Answer(answer), nil
}

// wordProblem finishes an arithmetic question whose gold is the text answer.
func wordProblem(b Benchmark, id, text, answer string) (problem, error) {
	if answer == "" {
		return problem{}, errors.New("its answer is empty")
	}
	gold, err := b.Format.gold(answer, "", nil)
	return problem{id: id, instruction: text, gold: gold}, err
}
