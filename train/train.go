// Package train is the recipe: batches in, a trained adapter (or, in full-parameter
// training, a trained model) out, with metrics on the way.
//
// The loss of a step is the mean cross-entropy over the step's target tokens, whatever
// micro-batches they came in, plus balance · Σ over layers of the routing loss (the mean
// over micro-batches, by their tokens). Only the variables that the adapter owns move.
package train

import (
	"context"
	"encoding/json"
	"fmt"
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
	Balance       float64 // coefficient of the routing loss
	Rematerialise bool    // gradient checkpointing
	Seed          int64
	Progress      func(Metrics) // called after each step; may be nil
}

// Metrics of one optimiser step, as a line of metrics.jsonl.
type Metrics struct {
	Step         int       `json:"step"`         // from 1
	Loss         float64   `json:"loss"`         // mean cross-entropy over the step's target tokens
	BalanceLoss  float64   `json:"balance_loss"` // sum over layers, without its coefficient
	BalanceLayer []float64 `json:"balance_layers,omitempty"`
	GradNorm     float64   `json:"grad_norm"` // before clipping
	LearningRate float64   `json:"learning_rate"`
	Tokens       int       `json:"tokens"`  // real tokens of the step, padding not counted
	Seconds      float64   `json:"seconds"` // of this step
}

// Run trains until the schedule's last step. An interrupt stops it between two steps;
// what was learnt stays in the adapter, and the error is the context's.
func Run(ctx context.Context, m *model.Model, a *moelora.Adapter, steps *data.Batcher, o Options) (all []Metrics, err error) {
	st, err := newStepper(m, a, settings{optimizer: o.Optimizer, maxGradNorm: o.MaxGradNorm,
		dropout: o.Dropout, balance: o.Balance, rematerialise: o.Rematerialise, seed: o.Seed})
	if err != nil {
		return nil, err
	}
	defer st.close()
	log, err := os.Create(filepath.Join(o.Output, MetricsFile))
	if err != nil {
		return nil, fault.Input(o.Output, "choose a directory that can be written", "%v", err)
	}
	defer func() {
		if closed := log.Close(); err == nil {
			err = closed
		}
	}()
	lines := json.NewEncoder(log)
	for step := range o.Schedule.Total {
		if err := ctx.Err(); err != nil {
			return all, err
		}
		row, err := st.run(step, steps.Next(), o.Schedule.Rate(step))
		if err != nil {
			return all, err
		}
		if err := lines.Encode(row); err != nil {
			return all, fmt.Errorf("%s: not written: %w", log.Name(), err)
		}
		all = append(all, row)
		if o.Progress != nil {
			o.Progress(row)
		}
	}
	return all, nil
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
	return Metrics{Step: step + 1, Loss: r.loss, BalanceLoss: r.balance, BalanceLayer: r.layers, GradNorm: r.norm,
		LearningRate: rate, Tokens: tokens, Seconds: time.Since(start).Seconds()}, nil
}

// close frees the graphs and the optimiser's state; the owned variables stay.
func (s *stepper) close() {
	s.accumulate.Finalize()
	s.apply.Finalize()
	s.m.Free()
	s.v.Free()
	s.zeros.Free()
}
