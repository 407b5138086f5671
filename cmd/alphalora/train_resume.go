package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"alphalora/configs"
	"alphalora/internal/atomicfile"
	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/moelora"
	"alphalora/train"
	"alphalora/train/data"
)

// configFile is a run's configuration as resolved, in its output directory and in every
// checkpoint.
const configFile = "config.yaml"

// written is what a run writes into its output directory, but for the lock.
var written = []string{configFile, "spectrum.json", "allocation.json", train.MetricsFile, "report.html", "checkpoints", "adapter", "model", bestDir, "tensorboard"}

// entering is how a run enters its output directory.
type entering struct {
	resume    bool   // go on with the run that is there
	from      string // the checkpoint to go on from; empty: the newest
	overwrite bool   // write over the run that is there
}

// check holds the flags against each other and against what is there, before anything is
// written.
func (e entering) check(output string) error {
	if e.resume && e.overwrite {
		return fault.Input("--overwrite", "leave one of them out", "contradicts --resume")
	}
	if e.resume {
		path := filepath.Join(output, configFile)
		if _, err := os.Stat(path); err != nil {
			return fault.Input(path, "start without --resume", "there is no run to go on with: %v", fault.Reason(err))
		}
		return nil
	}
	for _, name := range written {
		if _, err := os.Stat(filepath.Join(output, name)); err == nil && !e.overwrite {
			return fault.Input("output "+output, "go on with it by --resume, choose another directory, or write over it by --overwrite", "holds a run already: %s is there", name)
		}
	}
	return nil
}

// place is an output directory that this run alone writes.
type place struct {
	lock *train.Lock
	from string // the checkpoint to go on from; empty: the run begins at its first step
	at   int    // its step
}

func (p *place) leave() { p.lock.Release() }

// enter locks the output directory and finds where the run goes on.
func (a *app) enter(run configs.Run, how entering) (p *place, err error) {
	if err := how.check(run.Output); err != nil {
		return nil, err
	}
	lock, err := train.NewLock(run.Output)
	if err != nil {
		return nil, err
	}
	p = &place{lock: lock}
	defer func() {
		if err != nil {
			p.leave()
		}
	}()
	if err := how.check(run.Output); err != nil { // nobody else writes any more
		return nil, err
	}
	for _, name := range []string{"", "checkpoints", "adapter", "model"} {
		if err := atomicfile.Sweep(filepath.Join(run.Output, name)); err != nil {
			return nil, err
		}
	}
	if how.resume {
		return p, a.goOn(p, run, how.from)
	}
	return p, nil
}

// goOn chooses the checkpoint and holds the configuration against that of the run.
func (a *app) goOn(p *place, run configs.Run, from string) error {
	c := train.Checkpoints{Dir: filepath.Join(run.Output, "checkpoints"), From: from}
	steps, err := c.List()
	if err != nil {
		return err
	}
	if len(steps) == 0 && from == "" {
		a.say("resume: %s holds no checkpoint yet: the run begins at step 1", run.Output)
		return a.unchanged(filepath.Join(run.Output, configFile), "", run)
	}
	chosen, err := c.Choose()
	if err != nil {
		return err
	}
	p.from, p.at = filepath.Base(chosen.Dir), chosen.Step
	a.say("resume: from %s, after step %d", chosen.Dir, chosen.Step)
	return a.unchanged(filepath.Join(chosen.Dir, configFile), chosen.Dir, run)
}

// unchanged tells every key that differs from the run's configuration, and refuses those
// with which it cannot go on.
func (a *app) unchanged(path, checkpoint string, run configs.Run) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fault.Input(path, "start without --resume", "there is no run to go on with: %v", fault.Reason(err))
	}
	old, err := configs.Parse(path, content, nil)
	if err != nil {
		return err
	}
	var wrong []string
	for _, c := range configs.Changes(old, run) {
		if c.Why == "" {
			a.say("resume: %s", c)
			continue
		}
		wrong = append(wrong, fmt.Sprintf("%s: %s", c, c.Why))
	}
	if len(wrong) == 0 {
		return nil
	}
	remedy := "resume with the configuration of the run, or start a new one in another directory"
	if checkpoint != "" && run.Adapter.Kind != configs.Full {
		remedy += ", with adapter.from: " + checkpoint + " to go on from what it has learnt"
	}
	return fault.Input(path, remedy, "the configuration has changed: %s", strings.Join(wrong, "; "))
}

// clear removes what an earlier run has left.
func (p *place) clear(output string) error {
	for _, name := range written {
		if err := os.RemoveAll(filepath.Join(output, name)); err != nil {
			return fmt.Errorf("%s: the earlier run cannot be removed: %w", output, err)
		}
	}
	return nil
}

// origin identifies the data of a run.
func (r *prepared) origin() train.Origin {
	o := train.Origin{Data: r.samples.Files, Tokens: r.samples.SHA256}
	if r.validation != nil {
		o.Validation = r.validation.Files
	}
	return o
}

// checkMemory tells what the run is estimated to need, and holds it against the device.
func (r *prepared) checkMemory(a *app, w io.Writer) error {
	longest := 0
	for i := range r.samples.Len() {
		longest = max(longest, r.samples.Tokens(i))
	}
	if r.Data.Packing {
		longest = r.Data.Cutoff
	}
	var shape *moelora.Shape
	if r.adapter != nil {
		shape = &r.adapter.Shape
	}
	backend := r.model.Engine.Name
	need := train.Estimate(r.model.Description, shape, r.model.DType(), backend, r.Training.MicroBatch, data.Bucket(longest)).
		On(r.model.Engine.Devices, backend == engine.CPU)
	if backend != engine.CPU && backend != engine.Go {
		_, err := fmt.Fprintf(w, "%s; %s does not tell how much its device has\n", need, backend)
		return err
	}
	total, free := train.HostMemory()
	if _, err := fmt.Fprintf(w, "%s; of %.1f GB %.1f are free\n", need, float64(total)/1e9, float64(free)/1e9); err != nil {
		return err
	}
	warning, err := need.Fits(total, free)
	if warning != "" {
		a.say("warning: %s", warning)
	}
	return err
}
