package main

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"time"

	"alphalora/internal/tensorboard"
	"alphalora/train"
)

const (
	// pageEvery is the least time between two writings of a run's page, and what its readers
	// wait before they look again.
	pageEvery = 10 * time.Second
	// pageShare is the time between two writings over the time of one: watching stays below
	// half a percent of the run, however slow the disk.
	pageShare = 200
)

// watcher shows a run while it goes: a progress bar, TensorBoard's event files and the
// run's page. What cannot be shown is told once and never stops the training.
type watcher struct {
	app    *app
	run    *prepared
	bar    *progress
	curves *curves
	times  train.Times
	board  *tensorboard.Writer // nil before the first step, and after a failure
	blind  map[string]bool     // what is not shown any more
	begun  bool
	due    time.Time // when the page is written next
}

func (a *app) watch(r *prepared) *watcher {
	return &watcher{app: a, run: r, bar: a.progress(r.steps, "train"), curves: newCurves(), blind: map[string]bool{},
		due: time.Now().Add(pageEvery)}
}

func (w *watcher) path(name string) string { return filepath.Join(w.run.Output, name) }

// step shows the metrics of a step that has just ended.
func (w *watcher) step(m train.Metrics) {
	if !w.begun {
		w.begin(m.Step)
	}
	row, err := metricsRow(m)
	if err != nil {
		w.fails("metrics", err)
		return
	}
	values := scalars(row)
	w.curves.add(m.Step, values)
	if w.board != nil {
		if err := w.board.Scalars(m.Step, values); err != nil {
			w.fails("TensorBoard", errors.Join(err, w.board.Close()))
			w.board = nil
		}
	}
	w.bar.Add(1, stepNote(m))
	if now := time.Now(); now.After(w.due) {
		w.fails("report.html", w.run.writePage(w.curves, w.state(running, "")))
		cost := time.Since(now)
		w.due = now.Add(cost + max(pageEvery, pageShare*cost))
	}
}

// begin takes up what was before the first step that is seen: nothing, or the steps up to a
// checkpoint.
func (w *watcher) begin(first int) {
	w.begun = true
	w.bar.From(first - 1)
	w.fails("earlier metrics", w.curves.read(w.path(train.MetricsFile), first))
	board, err := tensorboard.Create(w.path("tensorboard"), first)
	w.fails("TensorBoard", err)
	w.board = board
}

// end closes what is open and writes the page for the last time; failed is why the run
// ended, nil when it is done.
func (w *watcher) end(ctx context.Context, failed error) error {
	if w.board != nil {
		w.fails("TensorBoard", w.board.Close())
	}
	if !w.begun { // a resumed run that was done already
		w.fails("earlier metrics", w.curves.read(w.path(train.MetricsFile), math.MaxInt))
	}
	switch {
	case failed == nil:
		w.bar.Done()
		return w.run.writePage(w.curves, w.state(finished, ""))
	case w.curves.steps == 0:
		return nil
	case ctx.Err() != nil:
		w.fails("report.html", w.run.writePage(w.curves, w.state(stopped, context.Cause(ctx).Error())))
	default:
		w.fails("report.html", w.run.writePage(w.curves, w.state(stopped, failed.Error())))
	}
	return nil
}

func (w *watcher) state(phase phase, why string) pageState {
	return pageState{phase: phase, why: why, left: w.bar.left(), at: time.Now(), times: w.times}
}

// fails tells, once for each, what will not be shown any more; nil is no failure.
func (w *watcher) fails(what string, err error) {
	if err == nil || w.blind[what] {
		return
	}
	w.blind[what] = true
	w.app.say("warning: %s: %v (the training goes on)", what, err)
}
