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
	"math"
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
	Seed          int64
	Validation    Validation
	Log           func(line string) // told of compilations and validation; may be nil
	Checkpoints   Checkpoints
	Progress      func(Metrics) // called after each step; may be nil
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

// Run trains until the schedule's last step, or until validation has no more patience. An interrupt stops it between two steps: where checkpoints are kept, one is
// written, and the error is the context's.
func Run(ctx context.Context, m *model.Model, a *moelora.Adapter, steps *data.Batcher, o Options) (err error) {
	st, err := newStepper(m, a, settings{optimizer: o.Optimizer, maxGradNorm: o.MaxGradNorm,
		dropout: o.Dropout, maskPerExpert: o.MaskPerExpert, balance: o.Balance, zLoss: o.ZLoss, countPadding: o.CountPadding,
		rateRatio: o.RateRatio, rematerialise: o.Rematerialise, seed: o.Seed, log: o.Log})
	if err != nil {
		return err
	}
	defer st.close()
	first := 0
	if o.Checkpoints.Resume {
		if first, err = st.restore(o.Checkpoints); err != nil {
			return err
		}
	}
	feed := steps.Start(first)
	defer feed.Stop()
	log, err := openMetrics(filepath.Join(o.Output, MetricsFile), first)
	if err != nil {
		return err
	}
	defer func() {
		if closed := log.Close(); err == nil {
			err = closed
		}
	}()
	judged, err := o.Validation.standing(o.Output, first)
	if err != nil {
		return err
	}
	lines := json.NewEncoder(log)
	last := o.Validation.over(judged)
	for step := first; step < o.Schedule.Total && !last; step++ {
		if stopped := ctx.Err(); stopped != nil {
			if o.Checkpoints.Every > 0 && step > first {
				return errors.Join(stopped, st.save(o.Checkpoints, step))
			}
			return stopped
		}
		batches, err := feed.Next(ctx)
		if err != nil {
			return err
		}
		row, err := st.run(step, batches, o.Schedule.Rate(step))
		if err != nil {
			return err
		}
		if last, err = st.validate(ctx, o, &judged, &row); err != nil {
			return err
		}
		if err := lines.Encode(row); err != nil {
			return fmt.Errorf("%s: not written: %w", log.Name(), err)
		}
		if o.Progress != nil {
			o.Progress(row)
		}
		if o.Checkpoints.due(step+1, o.Schedule.Total) {
			if err := st.save(o.Checkpoints, step+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// openMetrics opens the metrics of a run behind its first kept steps: a new file, or the
// old one cut after the line of that step.
func openMetrics(path string, kept int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fault.Input(path, "choose a directory that can be written", "%v", err)
	}
	end := int64(0)
	in := bufio.NewReader(f)
	for range kept {
		line, err := in.ReadBytes('\n')
		if err != nil {
			_ = f.Close()
			return nil, fault.Input(path, "start without --resume", "has fewer lines than the checkpoint has steps")
		}
		end += int64(len(line))
	}
	if err := f.Truncate(end); err != nil {
		_ = f.Close()
		return nil, err
	}
	_, err = f.Seek(end, io.SeekStart)
	return f, err
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
	for _, v := range []float64{r.loss, r.norm} {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return Metrics{}, fmt.Errorf("step %d: loss %v, gradient norm %v: not finite (lower the learning rate, or look at the data of this step)", step+1, r.loss, r.norm)
		}
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
