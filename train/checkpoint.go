package train

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/weights"

	"github.com/gomlx/gomlx/core/tensors"
)

// Checkpoints says when the state of a run is kept, and where. A checkpoint holds the
// owned variables and AdamW's moments in f32; the order of the data and the dropout are
// functions of the seed and the step, so that a resumed run goes on as if never stopped.
type Checkpoints struct {
	Dir    string // one directory a checkpoint, step-000200 and so on
	Every  int    // steps; 0: none are kept
	Keep   int    // the newest that stay, at least 1
	Resume bool   // go on from the newest one
}

const stateFile = "state.safetensors"

func (c Checkpoints) path(step int) string {
	return filepath.Join(c.Dir, fmt.Sprintf("step-%06d", step))
}

// due tells whether a checkpoint follows a step, counted from 1.
func (c Checkpoints) due(step, total int) bool {
	return c.Every > 0 && step%c.Every == 0 && step < total
}

// list returns the steps of the checkpoints that are there, ascending.
func (c Checkpoints) list() ([]int, error) {
	entries, err := os.ReadDir(c.Dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var steps []int
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), "step-")
		if step, err := strconv.Atoi(number); ok && err == nil {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	return steps, nil
}

// lists names the three lists of a run's state.
func (s *stepper) lists() map[string]*model.Params {
	return map[string]*model.Params{"owned": s.owned, "m": s.m, "v": s.v}
}

// save writes the state after a step, whole or not at all, and drops the oldest ones.
func (s *stepper) save(c Checkpoints, step int) error {
	var all []weights.Tensor
	for prefix, list := range s.lists() {
		for i, name := range list.Names {
			values, err := model.Float32s(list.Tensors[i])
			if err != nil {
				return err
			}
			t, err := weights.FromFloat32s(prefix+"."+name, list.Tensors[i].Shape().Dimensions, values, weights.F32)
			if err != nil {
				return err
			}
			all = append(all, t)
		}
	}
	temporary := filepath.Join(c.Dir, fmt.Sprintf(".step-%06d.tmp", step))
	if err := os.MkdirAll(temporary, 0o755); err != nil {
		return fault.Input(c.Dir, "choose a directory that can be written", "%v", err)
	}
	metadata := map[string]string{"step": strconv.Itoa(step), "seed": strconv.FormatInt(s.seed, 10)}
	if err := weights.Write(filepath.Join(temporary, stateFile), all, metadata); err != nil {
		return err
	}
	if err := os.RemoveAll(c.path(step)); err != nil {
		return err
	}
	if err := os.Rename(temporary, c.path(step)); err != nil {
		return err
	}
	return c.prune()
}

func (c Checkpoints) prune() error {
	steps, err := c.list()
	if err != nil {
		return err
	}
	for len(steps) > max(c.Keep, 1) {
		if err := os.RemoveAll(c.path(steps[0])); err != nil {
			return err
		}
		steps = steps[1:]
	}
	return nil
}

// restore loads the newest checkpoint and returns its step.
func (s *stepper) restore(c Checkpoints) (step int, err error) {
	steps, err := c.list()
	if err != nil {
		return 0, err
	}
	if len(steps) == 0 {
		return 0, fault.Input(c.Dir, "start without --resume", "holds no checkpoint to go on from")
	}
	path := filepath.Join(c.path(steps[len(steps)-1]), stateFile)
	set, err := weights.OpenFile(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = set.Close() }()
	if err := s.checkState(set); err != nil {
		return 0, err
	}
	for prefix, list := range s.lists() {
		fresh := make([]*tensors.Tensor, list.Len())
		for i, name := range list.Names {
			t, _ := set.Get(prefix + "." + name)
			if err := t.CheckFinite(); err != nil {
				return 0, err
			}
			if fresh[i], err = model.ToDType(t, list.Tensors[i].DType()); err != nil {
				return 0, err
			}
		}
		if err := list.Replace(fresh); err != nil {
			return 0, err
		}
	}
	return steps[len(steps)-1], nil
}

// checkState holds a checkpoint against the run.
func (s *stepper) checkState(set *weights.Set) error {
	var want []weights.Spec
	for prefix, list := range s.lists() {
		for i, name := range list.Names {
			want = append(want, weights.Spec{Name: prefix + "." + name, Shape: list.Tensors[i].Shape().Dimensions})
		}
	}
	return set.Check(want)
}
