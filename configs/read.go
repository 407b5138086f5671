package configs

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/goccy/go-yaml"

	"alphalora/internal/fault"
)

// maxBytes bounds a configuration file.
const maxBytes = 1 << 20

// Read reads a configuration file; sets are key=value pairs that go before it.
func Read(path string, sets []string) (Run, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Run{}, fault.Input(path, "name a YAML file", "cannot be read: %v", fault.Reason(err))
	}
	if info.Size() > maxBytes {
		return Run{}, fault.Input(path, "is this a configuration?", "%d bytes are more than the %d allowed", info.Size(), maxBytes)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return Run{}, fault.Input(path, "name a YAML file", "cannot be read: %v", fault.Reason(err))
	}
	return Parse(path, content, sets)
}

// Parse is [Read] of a file's content; name is told in errors.
func Parse(name string, content []byte, sets []string) (run Run, err error) {
	defer func() { // a parser of foreign input must not end the program
		if p := recover(); p != nil {
			err = fault.Input(name, "write plain YAML", "cannot be parsed: %v", p)
		}
	}()
	tree := map[string]any{}
	if err := yaml.Unmarshal(content, &tree); err != nil {
		return Run{}, fault.Input(name, "mend the YAML", "%s", firstLine(yaml.FormatError(err, false, false)))
	}
	var problems []string
	for _, set := range sets {
		if err := override(tree, set); err != nil {
			problems = append(problems, err.Error())
		}
	}
	run = Defaults()
	problems = append(problems, assign(reflect.ValueOf(&run).Elem(), tree, "")...)
	if len(problems) == 0 {
		_, allocated := tree["allocation"]
		problems = run.check(allocated)
	}
	if len(problems) > 0 {
		return Run{}, fault.Input(name, "mend these keys", "%s", strings.Join(problems, "; "))
	}
	return run, nil
}

// YAML writes every key as resolved; a run whose experts are not allocated has no such
// section, so that what is written can be read again.
func (r Run) YAML() ([]byte, error) {
	if r.Adapter.Kind == MoELoRA && r.Adapter.From == "" {
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
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		return fmt.Errorf("--set %s: the value is not YAML", set)
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
func assign(into reflect.Value, tree map[string]any, path string) (problems []string) {
	fields := map[string]reflect.Value{}
	var names []string
	for i := range into.NumField() {
		name := into.Type().Field(i).Tag.Get("yaml")
		fields[name], names = into.Field(i), append(names, name)
	}
	keys := make([]string, 0, len(tree))
	for key := range tree {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		field, known := fields[key]
		switch {
		case !known:
			problems = append(problems, path+key+": no such key"+nearest(key, names))
		case field.Kind() == reflect.Struct:
			sub, ok := tree[key].(map[string]any)
			if !ok {
				problems = append(problems, fmt.Sprintf("%s%s is %v: keys of its own are needed", path, key, tree[key]))
				continue
			}
			problems = append(problems, assign(field, sub, path+key+".")...)
		default:
			if err := decode(field, tree[key]); err != nil {
				problems = append(problems, fmt.Sprintf("%s%s is %v: %s is needed", path, key, tree[key], err))
			}
		}
	}
	return problems
}

// decode puts one value into a field; its error says what is needed.
func decode(field reflect.Value, value any) error {
	need := map[reflect.Kind]string{reflect.String: "text", reflect.Int: "a whole number", reflect.Int64: "a whole number",
		reflect.Float64: "a number", reflect.Bool: "true or false", reflect.Slice: "a list", reflect.Array: "a list of two numbers"}[field.Kind()]
	if value == nil {
		return errors.New(need)
	}
	if text, ok := value.(string); ok && field.Kind() == reflect.Float64 {
		// the library takes 3e-4, a number in YAML 1.2, for text
		number, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return errors.New(need)
		}
		value = number
	}
	encoded, err := yaml.Marshal(value)
	if err != nil {
		return errors.New(need)
	}
	fresh := reflect.New(field.Type())
	if err := yaml.Unmarshal(encoded, fresh.Interface()); err != nil || !fits(field, value) {
		return errors.New(need)
	}
	field.Set(fresh.Elem())
	return nil
}

// fits refuses what the YAML library would bend: numbers as text, fractions as whole
// numbers, lists of another length.
func fits(field reflect.Value, value any) bool {
	v := reflect.ValueOf(value)
	switch field.Kind() {
	case reflect.String:
		return v.Kind() == reflect.String
	case reflect.Bool:
		return v.Kind() == reflect.Bool
	case reflect.Int, reflect.Int64:
		return v.CanInt() || v.CanUint()
	case reflect.Float64:
		return v.CanInt() || v.CanUint() || v.CanFloat()
	case reflect.Array:
		return v.Kind() == reflect.Slice && v.Len() == field.Len()
	default:
		return v.Kind() == reflect.Slice
	}
}

func nearest(key string, names []string) string {
	best, distance := "", 4
	for _, name := range names {
		if d := levenshtein.ComputeDistance(key, name); d < distance {
			best, distance = name, d
		}
	}
	if best == "" {
		return ", there are " + strings.Join(names, ", ")
	}
	return ", did you mean " + best + "?"
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
