package configs

import (
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"

	"alphalora/internal/fault"
)

// maxBytes bounds a configuration file. The YAML library's time grows with the square of
// nested text: at this size the worst takes about a second.
const maxBytes = 16 << 10

// Read reads a configuration file; sets are key=value pairs that go before it.
func Read(path string, sets []string) (Run, error) {
	f, err := os.Open(path)
	if err != nil {
		return Run{}, fault.Input(path, "name a YAML file", "cannot be read: %v", fault.Reason(err))
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return Run{}, fault.Input(path, "name a YAML file", "cannot be read: %v", fault.Reason(err))
	}
	return Parse(path, content, sets)
}

// Parse is [Read] of a file's content; name is told in errors.
func Parse(name string, content []byte, sets []string) (run Run, err error) {
	defer func() { // a parser of foreign input must not end the program
		if p := recover(); p != nil {
			run, err = Run{}, fault.Input(name, "write plain YAML", "cannot be parsed: %v", p)
		}
	}()
	if len(content) > maxBytes {
		return Run{}, fault.Input(name, "is this a configuration?", "has more than the %d bytes allowed", maxBytes)
	}
	if err := plain(content); err != nil {
		return Run{}, fault.Input(name, "write plain YAML", "%v", err)
	}
	tree := map[string]any{}
	if err := yaml.Unmarshal(content, &tree); err != nil {
		return Run{}, fault.Input(name, "mend the YAML", "%s", firstLine(yaml.FormatError(err, false, false)))
	}
	var problems []problem
	for _, set := range sets {
		if err := override(tree, set); err != nil {
			problems = append(problems, problem{text: err.Error()})
		}
	}
	run = Defaults()
	problems = append(problems, assign(reflect.ValueOf(&run).Elem(), tree, "")...)
	_, allocated := tree["allocation"]
	if texts := told(problems, run.check(allocated)); len(texts) > 0 {
		return Run{}, fault.Input(name, "mend these keys", "%s", strings.Join(texts, "; "))
	}
	return run, nil
}

// plain refuses the parts of YAML that a run does not need and that say something else
// than they seem to: documents after the first, which nobody would read, references,
// which can grow without bound, and 010, which is eight.
func plain(content []byte) error {
	begun := false
	for _, t := range lexer.Tokenize(string(content)) {
		refuse := ""
		switch t.Type {
		case token.CommentType, token.DirectiveType:
			continue
		case token.DocumentHeaderType, token.DocumentEndType:
			if begun {
				refuse = "one document is the whole configuration"
			}
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			refuse = "references have no place here"
		case token.OctetIntegerType, token.HexIntegerType, token.BinaryIntegerType:
			refuse = "whole numbers are written in decimal"
		}
		if refuse != "" {
			return fmt.Errorf("line %d has %q: %s", t.Position.Line, t.Value, refuse)
		}
		begun = true
	}
	return nil
}

// problem is something wrong at a key, whose value then stayed at its default.
type problem struct{ key, text string }

// told joins what could not be decoded with the rules that are broken. A rule that speaks
// of a key that could not be decoded judges a default that nobody chose: it is left out.
func told(problems []problem, broken []string) (texts []string) {
	undecoded := map[string]bool{}
	for _, p := range problems {
		texts = append(texts, p.text)
		undecoded[p.key] = true
	}
	for _, rule := range broken {
		words := strings.FieldsFunc(rule, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) })
		if !slices.ContainsFunc(words, func(word string) bool { return undecoded[word] }) {
			texts = append(texts, rule)
		}
	}
	return texts
}

// YAML writes every key as resolved; a run whose experts are not allocated has no such
// section, so that what is written can be read again.
func (r Run) YAML() ([]byte, error) {
	if r.Adapter.Mixes() && r.Adapter.From == "" {
		return yaml.Marshal(r)
	}
	return yaml.Marshal(struct {
		Model    string   `yaml:"model"`
		Output   string   `yaml:"output"`
		Init     string   `yaml:"init"`
		Adapter  Adapter  `yaml:"adapter"`
		Data     Data     `yaml:"data"`
		Training Training `yaml:"training"`
	}{r.Model, r.Output, r.Init, r.Adapter, r.Data, r.Training})
}

// override puts one key=value pair into the tree.
func override(tree map[string]any, set string) error {
	key, text, ok := strings.Cut(set, "=")
	if !ok || key == "" {
		return fmt.Errorf("--set %s: write key=value", set)
	}
	var value any = "" // nothing after the sign is the empty text, not YAML's null
	if text != "" {
		if plain([]byte(text)) != nil || yaml.Unmarshal([]byte(text), &value) != nil {
			return fmt.Errorf("--set %s: the value is not plain YAML", set)
		}
	}
	parts := strings.Split(key, ".")
	for _, part := range parts[:len(parts)-1] {
		next, ok := tree[part].(map[string]any)
		if !ok {
			if tree[part] != nil {
				return fmt.Errorf("--set %s: %s has no keys of its own", set, part)
			}
			next = map[string]any{}
			tree[part] = next
		}
		tree = next
	}
	tree[parts[len(parts)-1]] = value
	return nil
}

// assign decodes a tree into a struct, key by key, and collects what is wrong.
func assign(into reflect.Value, tree map[string]any, path string) (problems []problem) {
	fields := map[string]reflect.Value{}
	var names []string
	for i := range into.NumField() {
		name := into.Type().Field(i).Tag.Get("yaml")
		fields[name], names = into.Field(i), append(names, name)
	}
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		field, known := fields[key]
		switch {
		case !known:
			meant, hint := nearest(key, names)
			problems = append(problems, problem{meant, path + key + ": no such key, " + hint})
		case field.Kind() == reflect.Struct:
			sub, ok := tree[key].(map[string]any)
			if !ok {
				problems = append(problems, problem{key, fmt.Sprintf("%s%s is %s: keys of its own are needed", path, key, shown(tree[key]))})
				continue
			}
			problems = append(problems, assign(field, sub, path+key+".")...)
		default:
			if need := decode(field, tree[key]); need != "" {
				problems = append(problems, problem{key, fmt.Sprintf("%s%s is %s: %s is needed", path, key, shown(tree[key]), need)})
			}
		}
	}
	return problems
}

// decode puts one value into a field, or tells what is needed. Nothing is bent: a number
// is not a text, a fraction not a whole number.
func decode(field reflect.Value, value any) (need string) {
	if d, ok := field.Addr().Interface().(*Devices); ok {
		return d.set(value)
	}
	v := reflect.ValueOf(value)
	switch kind := field.Kind(); {
	case kind == reflect.String:
		if v.Kind() != reflect.String {
			return "text"
		}
		field.SetString(v.String())
	case kind == reflect.Bool:
		if v.Kind() != reflect.Bool {
			return "true or false"
		}
		field.SetBool(v.Bool())
	case field.CanInt():
		n, ok := whole(v)
		if !ok || field.OverflowInt(n) {
			return "a whole number"
		}
		field.SetInt(n)
	case field.CanFloat():
		n, ok := number(v)
		if !ok {
			return "a number"
		}
		field.SetFloat(n)
	default:
		return decodeList(field, v)
	}
	return ""
}

// decodeList fills a slice, or an array of exactly its length.
func decodeList(field, v reflect.Value) (need string) {
	need = "a list"
	if field.Kind() == reflect.Array {
		need = fmt.Sprintf("a list of %d numbers", field.Len())
	}
	if v.Kind() != reflect.Slice || (field.Kind() == reflect.Array && v.Len() != field.Len()) {
		return need
	}
	list := reflect.New(field.Type()).Elem()
	if field.Kind() == reflect.Slice {
		list = reflect.MakeSlice(field.Type(), v.Len(), v.Len())
	}
	for i := range v.Len() {
		if one := decode(list.Index(i), v.Index(i).Interface()); one != "" {
			return need + ", each " + one + ","
		}
	}
	field.Set(list)
	return ""
}

func whole(v reflect.Value) (int64, bool) {
	switch {
	case v.IsValid() && v.CanInt():
		return v.Int(), true
	case v.IsValid() && v.CanUint() && v.Uint() <= math.MaxInt64:
		return int64(v.Uint()), true
	}
	return 0, false
}

func number(v reflect.Value) (float64, bool) {
	switch n, ok := whole(v); {
	case ok:
		return float64(n), true
	case v.IsValid() && v.CanFloat():
		return v.Float(), true
	case v.Kind() == reflect.String: // the library takes 3e-4, a number in YAML 1.2, for text
		n, err := strconv.ParseFloat(v.String(), 64)
		return n, err == nil
	}
	return 0, false
}

// shown is a value as an error names it.
func shown(value any) string {
	if value == nil {
		return "empty"
	}
	text := []rune(fmt.Sprint(value))
	if len(text) > 60 {
		return string(text[:60]) + "..."
	}
	return string(text)
}

// nearest finds the key that was meant, if one is near, and says what there is.
func nearest(key string, names []string) (meant, hint string) {
	if meant = fault.Nearest(key, names); meant != "" {
		return meant, "did you mean " + meant + "?"
	}
	return "", "there are " + strings.Join(names, ", ")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
