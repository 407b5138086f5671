package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"alphalora/configs"
	"alphalora/internal/atomicfile"
	"alphalora/internal/fault"
	"alphalora/train"
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
	trace     string // file of where the time goes; empty: none
}

// check holds the flags against each other and against what is there, before anything is
// written.
func (e entering) check(run configs.Run) error {
	output := run.Output
	if e.resume && e.overwrite {
		return fault.Input("--overwrite", "leave one of them out", "contradicts --resume")
	}
	if err := outside(run); err != nil {
		return err
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

// outside refuses inputs that lie in what a run in this output directory writes over: who
// reads its own earlier result would lose it.
func outside(run configs.Run) error {
	for _, input := range []struct {
		key   string
		paths []string
	}{
		{"model", []string{run.Model}}, {"adapter.from", []string{run.Adapter.From}}, {"allocation.spectrum", []string{run.Allocation.Spectrum}},
		{"data.template", []string{run.Data.Template}}, {"data.train", run.Data.Train}, {"data.validation", run.Data.Validation},
	} {
		for _, path := range input.paths {
			for _, name := range written {
				if own := filepath.Join(run.Output, name); path != "" && inside(path, own) {
					return fault.Input(input.key+" "+path, "choose another output, or move it away", "lies in %s, which the run writes over", own)
				}
			}
		}
	}
	return nil
}

// inside tells whether a path, or what it links to, is dir or lies below it.
func inside(path, dir string) bool {
	at, err := os.Lstat(dir)
	if err != nil {
		return false
	}
	there, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	linked, err := filepath.EvalSymlinks(there)
	if err != nil {
		linked = there
	}
	for _, p := range []string{there, linked} {
		for ; p != filepath.Dir(p); p = filepath.Dir(p) {
			if info, err := os.Lstat(p); err == nil && os.SameFile(info, at) {
				return true
			}
		}
	}
	return false
}

// place is an output directory that this run alone writes.
type place struct {
	lock  *train.Lock // nil: the run only looks
	from  string      // the checkpoint to go on from; empty: the run begins at its first step
	trace string      // as of [entering]
}

func (p *place) leave() { p.lock.Release() }

// look finds what enter would, and changes nothing: a run that goes on there is no obstacle
// to a look, unless the new one is to go on with it or to write over it.
func (a *app) look(run configs.Run, how entering) (*place, error) {
	p := &place{}
	if err := how.check(run); err != nil {
		if how.resume || how.overwrite {
			return nil, err
		}
		a.say("warning: without --dry-run: %v", err)
		return p, nil
	}
	if err := train.CheckLock(run.Output); err != nil {
		return nil, err
	}
	if how.resume {
		return p, a.goOn(p, run, how.from)
	}
	return p, nil
}

// enter locks the output directory and finds where the run goes on.
func (a *app) enter(run configs.Run, how entering) (p *place, err error) {
	if err := how.check(run); err != nil {
		return nil, err
	}
	lock, err := train.NewLock(run.Output)
	if err != nil {
		return nil, err
	}
	p = &place{lock: lock, trace: how.trace}
	defer func() {
		if err != nil {
			p.leave()
		}
	}()
	if err := how.check(run); err != nil { // nobody else writes any more
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
	p.from = filepath.Base(chosen.Dir)
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
