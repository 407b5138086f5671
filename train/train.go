// Package train is the recipe: batches in, a trained adapter (or, in full-parameter
// training, a trained model) out, with metrics on the way.
//
// The loss of a step is the mean cross-entropy over the step's target tokens, whatever
// micro-batches they came in, plus the routing losses: coefficient · Σ over layers (each the
// mean over micro-batches, by their tokens). Only the variables that the adapter owns move.
package train

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/moelora"
	"alphalora/train/data"
)

// MetricsFile is written into the output directory, one JSON object a step.
const MetricsFile = "metrics.jsonl"

// Options of a run.
type Options struct {
	Output        string // directory of metrics.jsonl
	Schedule      Schedule
	Optimizer     AdamW
	MaxGradNorm   float64 // 0: no clipping
	Dropout       float64
	MaskPerExpert bool    // a dropout mask for each expert, not for each input
	Balance       float64 // coefficient of the balance loss
	ZLoss         float64 // coefficient of the routers' z-loss
	CountPadding  bool    // the routing losses count padded positions too, as the released code has it
	RateRatio     float64 // learning rate of B over that of A; 0: the kind's own
	Rematerialise bool    // gradient checkpointing
	Flash         bool    // attention by nn.Flash, which model.FlashRefusal must allow
	Seed          int64
	Validation    Validation
	Log           func(line string) // told of compilations and validation; may be nil
	Checkpoints   Checkpoints
	Origin        Origin                  // of the data; the model's part is added
	Where         func(sample int) string // where a sample comes from; nil: its number tells
	Progress      func(Metrics)           // called after each step; may be nil
	Trace         func(Span)              // told where the time goes; may be nil
}

// Metrics of one optimiser step, as a line of metrics.jsonl.
type Metrics struct {
	Step         int       `json:"step"`         // from 1
	Loss         float64   `json:"loss"`         // mean cross-entropy over the step's target tokens
	BalanceLoss  float64   `json:"balance_loss"` // sum over layers, without its coefficient
	BalanceLayer []float64 `json:"balance_layers,omitempty"`
	ZLoss        float64   `json:"z_loss"` // likewise
	ZLayer       []float64 `json:"z_layers,omitempty"`
	GradNorm     float64   `json:"grad_norm"` // before clipping
	LearningRate float64   `json:"learning_rate"`
	Tokens       int       `json:"tokens"`  // real tokens of the step, padding not counted
	Seconds      float64   `json:"seconds"` // of this step, validation not counted
	// Over the target tokens of validation; nil where the step was not judged.
	ValidationLoss     *float64 `json:"validation_loss,omitempty"`
	ValidationAccuracy *float64 `json:"validation_accuracy,omitempty"`
}

// Run trains until the schedule's last step, or until validation has no more patience. An
// interrupt ends it between two steps, with a [Stopped]; numbers that are not finite end it
// with a [NotFinite]. What was kept before stays in every case.
func Run(ctx context.Context, m *model.Model, a *moelora.Adapter, steps *data.Batcher, o Options) (err error) {
	st, err := newStepper(m, a, o.settings())
	if err != nil {
		return err
	}
	defer st.close()
	k, first, err := keep(st, steps.StepsPerEpoch(), o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.metrics.Close()) }()
	judged, err := o.Validation.standing(o.Output, first)
	if err == nil {
		err = k.restoreBest(judged)
	}
	if err != nil {
		return err
	}
	feed := steps.Start(first)
	defer feed.Stop()
	last := o.Validation.over(judged)
	for step := first; step < o.Schedule.Total && !last; step++ {
		end := st.timed(SpanData, step+1)
		batches, err := feed.Next(ctx)
		end()
		if ctx.Err() != nil {
			return k.stop(ctx, step)
		}
		if err != nil {
			return err
		}
		row, err := st.run(step, batches, o.Schedule.Rate(step))
		if err != nil {
			return k.explain(err, step, batches, o.Where)
		}
		// a step that has moved the variables is judged and written down, come what may
		if last, err = st.validate(context.WithoutCancel(ctx), o, &judged, &row); err != nil {
			return k.failed(err)
		}
		if err := k.record(row, o); err != nil {
			return k.failed(err)
		}
	}
	return nil
}

// record writes a step down, shows it, and keeps a checkpoint where one is due.
func (k *keeper) record(row Metrics, o Options) error {
	end := k.timed(SpanMetrics, row.Step)
	if err := json.NewEncoder(k.metrics).Encode(row); err != nil {
		return fmt.Errorf("%s: not written: %w", k.metrics.Name(), err)
	}
	end()
	if o.Progress != nil {
		end := k.timed(SpanWatch, row.Step)
		o.Progress(row)
		end()
	}
	if !o.Checkpoints.due(row.Step, o.Schedule.Total) {
		return nil
	}
	defer k.timed(SpanCheckpoint, row.Step)()
	return k.save(row.Step)
}

func (o Options) settings() settings {
	return settings{optimizer: o.Optimizer, maxGradNorm: o.MaxGradNorm, dropout: o.Dropout, maskPerExpert: o.MaskPerExpert,
		balance: o.Balance, zLoss: o.ZLoss, countPadding: o.CountPadding, rateRatio: o.RateRatio, rematerialise: o.Rematerialise, flash: o.Flash, seed: o.Seed, log: o.Log, trace: o.Trace}
}

// keep opens what is kept of a run, and returns after which step it goes on.
func keep(st *stepper, perEpoch int, o Options) (k *keeper, first int, err error) {
	k = &keeper{Checkpoints: o.Checkpoints, stepper: st, dropout: o.Dropout, schedule: o.Schedule, perEpoch: perEpoch, best: o.Validation.Best}
	if o.Checkpoints.Every > 0 || o.Checkpoints.Resume {
		if k.origin, err = o.Origin.identify(st.model); err != nil {
			return nil, 0, err
		}
	}
	if o.Checkpoints.Resume {
		if first, err = k.restore(); err != nil {
			return nil, 0, err
		}
	}
	if k.metrics, err = openMetrics(filepath.Join(o.Output, MetricsFile), first); err != nil {
		return nil, 0, err
	}
	if o.Checkpoints.Every > 0 { // a disk that is full already is told now, not hours later
		if err := k.ready(); err != nil {
			return nil, 0, errors.Join(err, k.metrics.Close())
		}
	}
	return k, first, nil
}

// Stopped is the error of a run that was interrupted between two steps.
type Stopped struct {
	Step       int    // steps done
	Checkpoint string // where they are kept; empty: nowhere
	cause      error
}

func (s *Stopped) Error() string {
	switch {
	case s.Step == 0:
		return "before the first step"
	case s.Checkpoint == "":
		return fmt.Sprintf("after step %d, which no checkpoint keeps (set training.checkpoint_every above 0)", s.Step)
	}
	return fmt.Sprintf("after step %d; %s is whole (go on with --resume)", s.Step, s.Checkpoint)
}

// Unwrap is the context's error.
func (s *Stopped) Unwrap() error { return s.cause }

// stop ends a run of which so many steps are done.
func (k *keeper) stop(ctx context.Context, step int) error {
	stopped := &Stopped{Step: step, cause: ctx.Err()}
	var failed error
	if k.Every > 0 && step > 0 {
		failed = k.save(step)
	}
	if k.saved > 0 {
		stopped.Checkpoint = k.path(k.saved)
	}
	return errors.Join(stopped, failed)
}

// openMetrics opens the metrics of a run behind its first kept steps: a new file, or the
// old one cut after the line of that step.
func openMetrics(path string, kept int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fault.Input(path, "choose a directory that can be written", "%v", err)
	}
	end, err := linesEnd(path, f, kept)
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		_, err = f.Seek(end, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// linesEnd is where the first lines of a run's metrics end.
func linesEnd(path string, f io.Reader, lines int) (end int64, err error) {
	in := bufio.NewReader(f)
	for range lines {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return 0, fault.Input(path, "put the file back, or go on from an earlier checkpoint with --resume-from", "has fewer lines than the checkpoint has steps")
		}
		end += int64(len(line))
	}
	return end, nil
}

// ReadMetrics reads the metrics of a run, those of the steps before a resume too.
func ReadMetrics(dir string) ([]Metrics, error) {
	path := filepath.Join(dir, MetricsFile)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var all []Metrics
	for lines := json.NewDecoder(f); ; {
		var m Metrics
		switch err := lines.Decode(&m); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("%s: line %d: %w", path, len(all)+1, err)
		}
		all = append(all, m)
	}
}

// run is one step, timed and checked.
func (s *stepper) run(step int, batches []data.Batch, rate float64) (Metrics, error) {
	start := time.Now()
	r, err := s.step(step+1, batches, rate)
	if err != nil {
		return Metrics{}, fmt.Errorf("step %d: %w", step+1, err)
	}
	if !finite(r.loss) || !finite(r.norm) || !finite(r.balance) || !finite(r.z) {
		return Metrics{}, &NotFinite{Step: step + 1, Loss: r.loss, Norm: r.norm}
	}
	_, tokens := totals(batches)
	return Metrics{Step: step + 1, Loss: r.loss, BalanceLoss: r.balance, BalanceLayer: r.layers, ZLoss: r.z, ZLayer: r.layersZ, GradNorm: r.norm,
		LearningRate: rate, Tokens: tokens, Seconds: time.Since(start).Seconds()}, nil
}

// close frees the graphs and the optimiser's state; the owned variables stay.
func (s *stepper) close() {
	s.accumulate.Finalize()
	s.apply.Finalize()
	s.judging.Finalize()
	s.m.Free()
	s.v.Free()
	s.zeros.Free()
}
