package configs

import (
	"fmt"
	"reflect"
	"slices"
)

// Change is a key whose value differs between a run and the one that goes on with it.
type Change struct {
	Key, Old, New string
	Why           string // why the run cannot go on with it; empty where it can
}

func (c Change) String() string { return fmt.Sprintf("%s was %s, now %s", c.Key, c.Old, c.New) }

// harmless are the keys that may differ when a run goes on: what the first ones name is held
// by fingerprints of its content, and the others do not touch what is computed but for the
// order in which gradient checkpointing and several devices add.
var harmless = []string{"model", "output", "data.train", "data.validation", "data.cache", "data.on_error",
	"training.checkpoint_every", "training.keep_checkpoints", "training.gradient_checkpointing", "training.devices", "training.shard_base"}

// Changes lists the keys that differ from old to now, in the order of the file.
func Changes(old, now Run) []Change {
	var list []Change
	compare(reflect.ValueOf(old), reflect.ValueOf(now), "", func(key string, a, b any) {
		list = append(list, Change{key, shown(a), shown(b), forbids(key, old, now)})
	})
	return list
}

// compare calls differs for each key with two values.
func compare(old, now reflect.Value, path string, differs func(key string, a, b any)) {
	for i := range old.NumField() {
		key := path + old.Type().Field(i).Tag.Get("yaml")
		a, b := old.Field(i), now.Field(i)
		switch {
		case a.Kind() == reflect.Struct:
			compare(a, b, key+".", differs)
		case a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0: // absent or written out as empty
		case !reflect.DeepEqual(a.Interface(), b.Interface()):
			differs(key, a.Interface(), b.Interface())
		}
	}
}

// forbids tells why a run cannot go on with another value of a key.
func forbids(key string, old, now Run) string {
	switch key {
	case "training.steps", "training.epochs":
		if key == "training.epochs" && old.Training.Steps > 0 && now.Training.Steps > 0 {
			return "" // steps goes before it
		}
		if old.Training.Schedule == "constant" && now.Training.Schedule == "constant" {
			return ""
		}
		return "with schedule " + old.Training.Schedule + " the learning rate of every step depends on how many there are"
	}
	if slices.Contains(harmless, key) {
		return ""
	}
	return "the steps done had the other value"
}
