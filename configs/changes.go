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

// What another value of a key does to a run that goes on. Every key stands in one of these
// lists (TestEveryKeyIsClassified).
var (
	// named keys tell where something lies: its content is held by fingerprints.
	named = []string{"model", "output", "data.train", "data.validation"}

	// aside do not touch what a step computes, but for the order in which gradient checkpointing,
	// flash attention and several devices add. Validation judges the steps to come by its new rule, and those done as they were.
	aside = []string{"data.cache", "quant_cache", "data.on_error", "training.checkpoint_every", "training.keep_checkpoints",
		"training.gradient_checkpointing", "training.attention", "training.devices", "training.shard_base", "training.validate_every", "training.patience"}

	// length is how many steps there are, on which every schedule but the constant one depends.
	length = []string{"training.steps", "training.epochs"}

	// shaping say what is trained: the checkpoint holds an adapter of the other shape.
	shaping = []string{"init", "adapter.kind", "adapter.r", "adapter.alpha", "adapter.targets", "adapter.from",
		"allocation.strategy", "allocation.experts", "allocation.beta", "allocation.estimator", "allocation.metric",
		"allocation.rounding", "allocation.per_layer", "allocation.spectrum"}

	// learning say what a step learns from, and how.
	learning = []string{"model_quant", "adapter.dropout", "adapter.dropout_mask", "adapter.balance", "adapter.balance_padding",
		"adapter.z_loss", "adapter.rate_ratio",
		"data.weights", "data.template", "data.cutoff", "data.train_on_inputs", "data.group_by_length", "data.shuffle", "data.packing",
		"training.batch", "training.micro_batch", "training.learning_rate", "training.schedule", "training.warmup_steps",
		"training.decay_steps", "training.min_rate", "training.weight_decay", "training.no_decay", "training.max_grad_norm",
		"training.betas", "training.epsilon", "training.seed", "training.dtype"}
)

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
	switch {
	case slices.Contains(named, key), slices.Contains(aside, key):
		return ""
	case slices.Contains(length, key):
		return forbidsLength(key, old.Training, now.Training)
	case slices.Contains(shaping, key):
		return "what the steps done have trained is of another shape or start"
	}
	return "the steps done had the other value"
}

func forbidsLength(key string, old, now Training) string {
	if key == "training.epochs" && old.Steps > 0 && now.Steps > 0 {
		return "" // steps goes before it
	}
	if old.Schedule == "constant" && now.Schedule == "constant" {
		return ""
	}
	return "with schedule " + old.Schedule + " the learning rate of every step depends on how many there are"
}
