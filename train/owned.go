package train

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/weights"

	"github.com/gomlx/gomlx/core/tensors"
)

// IsCheckpoint tells whether a directory holds the state of a run.
func IsCheckpoint(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, stateFile))
	return err == nil
}

// LoadOwned gives the owned variables of an adapter the values that they have in a
// checkpoint, and returns the step after which it was written. What else the checkpoint
// holds is left alone.
func LoadOwned(dir string, owned *model.Params) (step int, err error) {
	path := filepath.Join(dir, stateFile)
	set, err := weights.OpenFile(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = set.Close() }()
	if step, err = strconv.Atoi(set.Metadata()["step"]); err != nil || step < 1 {
		return 0, fault.Input(path, "give a checkpoint of alphalora train", "does not state its step")
	}
	if err := set.Check(wantOwned(set, owned)); err != nil {
		return 0, err
	}
	fresh := make([]*tensors.Tensor, owned.Len())
	for i, name := range owned.Names {
		t, _ := set.Get(ownedPrefix + name)
		if err := t.CheckFinite(); err != nil {
			return 0, err
		}
		if fresh[i], err = model.ToDType(t, owned.Tensors[i].DType()); err != nil {
			return 0, err
		}
	}
	return step, owned.Replace(fresh)
}

// ownedPrefix begins the names of the owned variables in a checkpoint.
const ownedPrefix = "owned."

// wantOwned lists the owned variables, and whatever else the checkpoint has.
func wantOwned(set *weights.Set, owned *model.Params) []weights.Spec {
	var want []weights.Spec
	for i, name := range owned.Names {
		want = append(want, weights.Spec{Name: ownedPrefix + name, Shape: owned.Tensors[i].Shape().Dimensions})
	}
	for _, name := range set.Names() {
		if !strings.HasPrefix(name, ownedPrefix) {
			t, _ := set.Get(name)
			want = append(want, weights.Spec{Name: name, Shape: t.Shape})
		}
	}
	return want
}
