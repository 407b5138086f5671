package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ardanlabs/jinja"
)

// RenderRecord writes a record of data: its fields are the names that the template can
// use, beside the special tokens. The values are as encoding/json reads them, numbers as
// json.Number. To print what is not defined is an error here: it is a misspelt field, or
// one that the record lacks.
func (t *Template) RenderRecord(fields map[string]any) (text string, err error) {
	names := make(map[string]jinja.Value, len(fields))
	for name, field := range fields {
		names[name] = valueOf(field)
	}
	b := newBudget()
	b.strict = true
	err = guard(func() (err error) {
		text, err = t.t.RenderValues(t.complete(names, b))
		return err
	})
	var says raised
	var stopped errBound
	var missing errUndefined
	switch {
	case err == nil:
		return text, nil
	case errors.As(err, &says):
		return "", fmt.Errorf("the template refuses it: %s", strings.TrimSpace(says.message))
	case errors.As(err, &stopped):
		return "", fmt.Errorf("the template %w", stopped)
	case errors.As(err, &missing):
		return "", fmt.Errorf("the template %w, the record has %s", missing, strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
	}
	return "", fmt.Errorf("the template fails: %.300w", err)
}

// errUndefined tells that a template printed what is not defined.
type errUndefined struct{}

func (errUndefined) Error() string { return "prints something that is not defined" }

// valueOf is a value of JSON in the template's language.
func valueOf(v any) jinja.Value {
	switch v := v.(type) {
	case string:
		return jinja.NewString(v)
	case bool:
		return jinja.NewBool(v)
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return jinja.NewInt(n)
		}
		n, _ := v.Float64() // beyond its range it is infinite, as in JavaScript
		return jinja.NewFloat(n)
	case []any:
		items := make([]jinja.Value, len(v))
		for i, item := range v {
			items[i] = valueOf(item)
		}
		return jinja.NewList(items)
	case map[string]any:
		d := jinja.NewDict()
		for _, key := range slices.Sorted(maps.Keys(v)) {
			d.AsDict().Set(key, valueOf(v[key]))
		}
		return d
	}
	return jinja.None()
}
