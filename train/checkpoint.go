package train

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"alphalora/internal/atomicfile"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/weights"
	"alphalora/moelora"

	"github.com/gomlx/gomlx/core/tensors"
	"golang.org/x/sys/unix"
)

// Checkpoints says when the state of a run is kept, and where. A checkpoint of an adapter
// is an adapter directory with AdamW's moments beside it; docs/runs.md describes the files.
type Checkpoints struct {
	Dir    string            // one directory a checkpoint, step-000200 and so on
	Every  int               // steps; 0: none are kept
	Keep   int               // the newest that stay, at least 1
	Resume bool              // go on from one
	From   string            // its name; empty: the newest
	Attach map[string][]byte // files that every checkpoint holds too, by their names

	free func(dir string) (int64, error) // bytes left on the disk; nil: as the system says
}

// Checkpoint is one whose checksums were found right.
type Checkpoint struct {
	Dir string
	Manifest
}

// IsCheckpoint tells whether a directory holds the state of a run.
func IsCheckpoint(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, stateFile))
	return err == nil
}

// OpenCheckpoint reads a checkpoint's manifest and holds all of its files against their
// checksums.
func OpenCheckpoint(dir string) (Checkpoint, error) {
	c := Checkpoint{Dir: dir}
	if err := verify(dir); err != nil {
		return c, err
	}
	content, err := readBounded(filepath.Join(dir, manifestFile))
	if err != nil {
		return c, err
	}
	c.Manifest, err = parseManifest(content)
	return c, err
}

func stepName(step int) string { return fmt.Sprintf("step-%06d", step) }

func (c Checkpoints) path(step int) string { return filepath.Join(c.Dir, stepName(step)) }

// due tells whether a checkpoint follows a step, counted from 1: the last one always has one.
func (c Checkpoints) due(step, total int) bool {
	return c.Every > 0 && (step%c.Every == 0 || step == total)
}

// List returns the steps of the checkpoints that are there, ascending.
func (c Checkpoints) List() ([]int, error) {
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
		if step, err := strconv.Atoi(number); ok && err == nil && e.Name() == stepName(step) {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	return steps, nil
}

// Choose opens the checkpoint that From names, or the newest. A damaged one is refused,
// and the newest whole one before it is offered.
func (c Checkpoints) Choose() (Checkpoint, error) {
	steps, err := c.List()
	if err != nil {
		return Checkpoint{}, err
	}
	if len(steps) == 0 {
		return Checkpoint{}, fault.Input(c.Dir, "start without --resume", "holds no checkpoint to go on from")
	}
	at := len(steps) - 1
	if c.From != "" {
		at = slices.IndexFunc(steps, func(step int) bool { return stepName(step) == filepath.Base(c.From) })
		if at < 0 {
			return Checkpoint{}, fault.Input("--resume-from "+c.From, fmt.Sprintf("the newest there is %s", stepName(steps[len(steps)-1])), "%s holds no such checkpoint", c.Dir)
		}
	}
	chosen, err := OpenCheckpoint(c.path(steps[at]))
	if err == nil {
		return chosen, nil
	}
	remedy := "no whole one stands before it: start anew with --overwrite"
	for _, step := range slices.Backward(steps[:at]) {
		if _, bad := OpenCheckpoint(c.path(step)); bad == nil {
			remedy = "go on from the one before with --resume-from " + stepName(step)
			break
		}
	}
	return Checkpoint{}, fault.Input(chosen.Dir, remedy, "%v", err)
}

// keeper keeps the state of one run.
type keeper struct {
	Checkpoints
	*stepper
	metrics  *os.File
	dropout  float64
	schedule Schedule
	perEpoch int    // steps
	origin   Origin // known where checkpoints are kept or read
	saved    int    // step of the newest checkpoint of this run; 0: none
	best     string // the file of the best weights; empty: none is kept
}

// lists names the lists in the state's file. An adapter's own variables lie in its files.
func (k *keeper) lists() map[string]*model.Params {
	lists := map[string]*model.Params{"m": k.m, "v": k.v}
	if k.adapter == nil {
		lists["owned"] = k.owned
	}
	return lists
}

// save keeps the state after a step, whole or not at all, and drops the oldest checkpoints.
func (k *keeper) save(step int) error {
	if step == k.saved {
		return nil
	}
	if err := k.ready(); err != nil {
		return err
	}
	err := atomicfile.Dir(k.path(step), func(dir string) error {
		if err := k.saveState(filepath.Join(dir, stateFile)); err != nil {
			return err
		}
		if k.adapter != nil {
			if err := k.adapter.Save(dir, k.model, k.dropout); err != nil {
				return err
			}
		}
		if err := k.keepBest(dir); err != nil {
			return err
		}
		for name, content := range k.Attach {
			if err := atomicfile.WriteBytes(filepath.Join(dir, name), content); err != nil {
				return err
			}
		}
		return seal(dir, k.manifest(step))
	})
	if err != nil {
		return err
	}
	k.saved = step
	return k.prune()
}

func (k *keeper) manifest(step int) Manifest {
	return Manifest{Format: manifestVersion, Step: step, Seed: k.seed, Cursor: Cursor{step / k.perEpoch, step % k.perEpoch},
		NextRate: k.schedule.Rate(step), Engine: k.model.Engine.Name, Origin: k.origin}
}

// saveState writes the state's lists in f32, one tensor at a time.
func (k *keeper) saveState(path string) error {
	var all []weights.Tensor
	from := map[string]*tensors.Tensor{}
	for prefix, list := range k.lists() {
		for i, name := range list.Names {
			name = prefix + "." + name
			from[name] = list.Tensors[i]
			all = append(all, weights.Tensor{Name: name, DType: weights.F32, Shape: list.Tensors[i].Shape().Dimensions})
		}
	}
	return weights.Stream(path, all, nil, func(t weights.Tensor) ([]byte, error) {
		values, err := model.Float32s(from[t.Name])
		if err != nil {
			return nil, err
		}
		t, err = weights.FromFloat32s(t.Name, t.Shape, values, weights.F32)
		return t.Data, err
	})
}

// ready holds that what was written so far is still there, safe on the disk, and that the
// disk has room for one more checkpoint.
func (k *keeper) ready() error {
	held, err := k.metrics.Stat()
	if err != nil {
		return err
	}
	if seen, err := os.Stat(k.metrics.Name()); err != nil || !os.SameFile(held, seen) {
		return fmt.Errorf("%s: was removed or replaced while the run went (put the directory back and go on with --resume)", k.metrics.Name())
	}
	if err := k.metrics.Sync(); err != nil {
		return fmt.Errorf("%s: not written: %w", k.metrics.Name(), err)
	}
	free := k.free
	if free == nil {
		free = freeBytes
	}
	left, err := free(filepath.Dir(k.metrics.Name()))
	if need := k.size(); err == nil && left < need {
		return fmt.Errorf("%s: a checkpoint needs %.3g MB, but the disk has %.3g MB left (make room, then go on with --resume; the checkpoints that are there stay whole)",
			k.Dir, float64(need)/1e6, float64(left)/1e6)
	}
	return err
}

// size is what a checkpoint takes on the disk, in bytes: three f32 values a variable, one
// more where the best are kept, and a little for the rest.
func (k *keeper) size() int64 {
	const rest = 1 << 20
	values := int64(3)
	if k.best != "" {
		values++
	}
	return values*4*int64(k.owned.Count()) + rest
}

// freeBytes is what an ordinary user may still write to a directory's disk.
func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("%s: %w", dir, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// prune drops the oldest checkpoints.
func (c Checkpoints) prune() error {
	steps, err := c.List()
	if err != nil {
		return err
	}
	return c.drop(steps[:max(0, len(steps)-max(c.Keep, 1))])
}

// drop removes checkpoints. Each loses its name first: a process that ends in between
// leaves none that is half there.
func (c Checkpoints) drop(steps []int) error {
	for _, step := range steps {
		doomed, err := atomicfile.Discard(c.path(step))
		if err != nil {
			return err
		}
		if err := os.RemoveAll(doomed); err != nil {
			return err
		}
	}
	return nil
}

// Resumable finds the checkpoint from which [Run] would go on, and refuses what Run would
// refuse of it. It changes nothing.
func Resumable(m *model.Model, a *moelora.Adapter, o Options) (Checkpoint, error) {
	origin, err := o.Origin.identify(m)
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := o.Checkpoints.fitting(origin, o.Schedule.Total)
	if err != nil {
		return c, err
	}
	if a != nil {
		saved, err := adapterLike(c.Dir, m, a)
		if err != nil {
			return c, err
		}
		saved.Params.Free()
	}
	path := filepath.Join(o.Output, MetricsFile)
	f, err := os.Open(path)
	if err != nil {
		return c, fault.Input(path, "put the file back", "cannot be read: %v", fault.Reason(err))
	}
	defer func() { _ = f.Close() }()
	_, err = linesEnd(path, f, c.Step)
	return c, err
}

// fitting chooses a checkpoint, of the same origin as a run of so many steps.
func (c Checkpoints) fitting(now Origin, total int) (Checkpoint, error) {
	chosen, err := c.Choose()
	if err != nil {
		return chosen, err
	}
	if err := chosen.Origin.same(chosen.Dir, now); err != nil {
		return chosen, err
	}
	if chosen.Step > total {
		return chosen, fault.Input(chosen.Dir, "give the run more steps", "was written after step %d, but the run has %d", chosen.Step, total)
	}
	return chosen, nil
}

// restore loads a checkpoint and returns its step.
func (k *keeper) restore() (step int, err error) {
	c, err := k.fitting(k.origin, k.schedule.Total)
	if err != nil {
		return 0, err
	}
	if k.adapter != nil {
		if err := k.restoreAdapter(c.Dir); err != nil {
			return 0, err
		}
	}
	if err := k.restoreState(filepath.Join(c.Dir, stateFile)); err != nil {
		return 0, err
	}
	steps, err := k.List()
	if err != nil {
		return 0, err
	}
	k.saved = c.Step // the ones after it belong to steps that the run now does again
	return c.Step, k.drop(slices.DeleteFunc(steps, func(step int) bool { return step <= c.Step }))
}

// restoreAdapter takes over the values of a checkpoint's adapter.
func (k *keeper) restoreAdapter(dir string) error {
	saved, err := adapterLike(dir, k.model, k.adapter)
	if err != nil {
		return err
	}
	k.adapter.Idle = saved.Idle
	return k.owned.Replace(saved.Params.Tensors)
}

// adapterLike reads a checkpoint's adapter, which must have the shape of a run's.
func adapterLike(dir string, m *model.Model, a *moelora.Adapter) (*moelora.Adapter, error) {
	saved, err := moelora.Load(dir, m, 0)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(saved.Params.Names, a.Params.Names) || fmt.Sprint(saved.Params.Shapes()) != fmt.Sprint(a.Params.Shapes()) {
		saved.Params.Free()
		return nil, fault.Input(dir, "start a new run", "holds an adapter of another shape: experts %v of rank %d, the run has %v of rank %d",
			saved.Experts, saved.Rank, a.Experts, a.Rank)
	}
	return saved, nil
}

func (k *keeper) restoreState(path string) error {
	set, err := weights.OpenFile(path)
	if err != nil {
		return err
	}
	defer func() { _ = set.Close() }()
	var want []weights.Spec
	for prefix, list := range k.lists() {
		for i, name := range list.Names {
			want = append(want, weights.Spec{Name: prefix + "." + name, Shape: list.Tensors[i].Shape().Dimensions})
		}
	}
	if err := set.Check(want); err != nil {
		return err
	}
	for prefix, list := range k.lists() {
		fresh := make([]*tensors.Tensor, list.Len())
		for i, name := range list.Names {
			t, _ := set.Get(prefix + "." + name)
			if err := t.CheckFinite(); err != nil {
				return err
			}
			if fresh[i], err = model.ToDType(t, list.Tensors[i].DType()); err != nil {
				return err
			}
		}
		if err := list.Replace(fresh); err != nil {
			return err
		}
	}
	return k.spread()
}
