package configs

import (
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// keysOf walks every key of a configuration and hands each with its value, which can be set.
func keysOf(v reflect.Value, path string, visit func(key string, field reflect.Value)) {
	for i := range v.NumField() {
		key := path + v.Type().Field(i).Tag.Get("yaml")
		if v.Field(i).Kind() == reflect.Struct {
			keysOf(v.Field(i), key+".", visit)
			continue
		}
		visit(key, v.Field(i))
	}
}

// other puts another value into a field.
func other(t *testing.T, key string, field reflect.Value) {
	switch {
	case field.Kind() == reflect.String:
		field.SetString(field.String() + "x")
	case field.Kind() == reflect.Bool:
		field.SetBool(!field.Bool())
	case field.CanInt():
		field.SetInt(field.Int() + 1)
	case field.CanFloat():
		field.SetFloat(field.Float() + 1)
	case field.Kind() == reflect.Array:
		field.Index(0).SetFloat(field.Index(0).Float() + 1)
	case field.Kind() == reflect.Slice:
		field.Set(reflect.Append(field, reflect.Zero(field.Type().Elem())))
	default:
		t.Fatalf("%s is a %v, which this test cannot change", key, field.Kind())
	}
}

// TestEveryKeyIsClassified holds that each key says what another value of it does to a run
// that goes on, and that Changes does so.
func TestEveryKeyIsClassified(t *testing.T) {
	lists := [][]string{named, aside, length, shaping, learning}
	var keys []string
	fresh := Defaults()
	keysOf(reflect.ValueOf(&fresh).Elem(), "", func(key string, _ reflect.Value) { keys = append(keys, key) })
	require.Greater(t, len(keys), 40)
	for _, key := range keys {
		in := 0
		for _, list := range lists {
			if slices.Contains(list, key) {
				in++
			}
		}
		require.Equal(t, 1, in, "%s: put it into one list of changes.go", key)

		now := Defaults()
		keysOf(reflect.ValueOf(&now).Elem(), "", func(k string, field reflect.Value) {
			if k == key {
				other(t, key, field)
			}
		})
		changes := Changes(Defaults(), now)
		require.Len(t, changes, 1, key)
		require.Equal(t, key, changes[0].Key)
		free := slices.Contains(named, key) || slices.Contains(aside, key)
		require.Equal(t, free, changes[0].Why == "", "%s: %s", key, changes[0].Why)
	}
	listed := slices.Concat(lists...)
	for _, key := range listed {
		require.Contains(t, keys, key, "changes.go has a key that there is no more")
	}
	require.Len(t, listed, len(keys))
}

// TestLengthOfAResumedRun may change where no learning rate depends on it.
func TestLengthOfAResumedRun(t *testing.T) {
	for _, c := range []struct{ old, now, refused string }{
		{"{schedule: constant, warmup_steps: 0, steps: 3}", "{schedule: constant, warmup_steps: 0, steps: 9}", ""},
		{"{schedule: cosine, steps: 3, warmup_steps: 0}", "{schedule: cosine, steps: 9, warmup_steps: 0}", "with schedule cosine"},
		{"{epochs: 3}", "{epochs: 9}", "with schedule linear"},
		{"{steps: 300, epochs: 3}", "{steps: 300, epochs: 9}", ""},
	} {
		old, err := Parse("x.yaml", []byte(least+"training: "+c.old), nil)
		require.NoError(t, err)
		now, err := Parse("x.yaml", []byte(least+"training: "+c.now), nil)
		require.NoError(t, err)
		changes := Changes(old, now)
		require.Len(t, changes, 1)
		if c.refused == "" {
			require.Empty(t, changes[0].Why)
		} else {
			require.Contains(t, changes[0].Why, c.refused)
		}
	}
}
