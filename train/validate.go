package train

import (
	"context"
	"fmt"
	"math"

	"alphalora/internal/engine"
	"alphalora/moelora"
	"alphalora/train/data"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
)

// Validation says what a run is judged by on its way: the mean cross-entropy and the share
// of right guesses over the target tokens of samples that are not learnt from.
type Validation struct {
	Held     *data.Batcher // its first epoch is judged; nil: nothing is
	Every    int           // steps from one time to the next, 1 or more; the last step is judged too
	Patience int           // end the run after so many times without a better loss; 0: never
	// Keep stores what has been trained, as the best so far, before the line of its step is
	// written; may be nil. A run that goes on from an older checkpoint comes by the same best.
	Keep func() error
	Best string // the file of weights that Keep replaces, in a directory of its own: checkpoints keep it, and a run that goes on has that of its steps
}

// standing is how the times of validation went so far. It follows from the metrics alone.
type standing struct {
	best  float64 // lowest loss
	since int     // times without a better one
}

// standingOf replays the metrics of a run.
func standingOf(rows []Metrics) standing {
	s := standing{best: math.Inf(1)}
	for _, row := range rows {
		if row.ValidationLoss != nil {
			s.add(*row.ValidationLoss)
		}
	}
	return s
}

// add counts one more loss and tells whether it is the best.
func (s *standing) add(loss float64) (better bool) {
	if loss < s.best {
		*s = standing{best: loss}
		return true
	}
	s.since++
	return false
}

// due tells whether a step, counted from 1, is judged.
func (v Validation) due(step, total int) bool {
	return v.Held != nil && (step%v.Every == 0 || step == total)
}

// over tells whether patience has run out.
func (v Validation) over(s standing) bool { return v.Patience > 0 && s.since >= v.Patience }

// standing reads how validation went before a resume; first is the step that comes next.
func (v Validation) standing(output string, first int) (standing, error) {
	if v.Held == nil || first == 0 {
		return standingOf(nil), nil
	}
	rows, err := ReadMetrics(output)
	return standingOf(rows), err
}

// validate judges a step where it is due, and keeps it where it is the best. last tells
// that the run ends here.
func (s *stepper) validate(ctx context.Context, o Options, so *standing, row *Metrics) (last bool, err error) {
	v := o.Validation
	if !v.due(row.Step, o.Schedule.Total) {
		return false, nil
	}
	defer s.timed(SpanValidation, row.Step)()
	loss, accuracy, err := s.judge(ctx, v.Held)
	if err != nil {
		return false, fmt.Errorf("step %d: validation: %w", row.Step, err)
	}
	row.ValidationLoss, row.ValidationAccuracy = &loss, &accuracy
	if so.add(loss) && v.Keep != nil {
		if err := v.Keep(); err != nil {
			return false, err
		}
	}
	line := fmt.Sprintf("step %d: validation loss %.4f, accuracy %.4f, the best loss %.4f", row.Step, loss, accuracy, so.best)
	if last = v.over(*so); last {
		line += fmt.Sprintf("; no better one in %d times: the run ends", so.since)
	}
	s.tell(line)
	return last, nil
}

// judge runs through the held samples once.
func (s *stepper) judge(ctx context.Context, held *data.Batcher) (loss, accuracy float64, err error) {
	targets := 0
	for step := range held.StepsPerEpoch() {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		batches, err := held.Step(step)
		if err != nil {
			return 0, 0, err
		}
		for _, b := range batches {
			outs, err := s.judging.call(shapeOf(b), s.lanes(func(device int) []*tensors.Tensor {
				return join(s.frozen(device), s.owned.On(device), s.inputs(b, device))
			}))
			if err != nil {
				return 0, 0, err
			}
			sum, err := engine.ReadScalar[float32](outs[0][0])
			if err != nil {
				return 0, 0, err
			}
			right, err := engine.ReadScalar[int32](outs[0][1])
			if err != nil {
				return 0, 0, err
			}
			loss, accuracy = loss+float64(sum), accuracy+float64(right)
			targets += b.Targets
		}
	}
	n := float64(max(targets, 1))
	if loss /= n; math.IsNaN(loss) || math.IsInf(loss, 0) {
		return 0, 0, fmt.Errorf("loss %v: not finite (lower the learning rate, or look at the data of validation)", loss)
	}
	return loss, accuracy / n, nil
}

// judgeGraph judges one micro-batch. Inputs: frozen weights, owned variables, and a batch
// as of [stepper.inputs]. Outputs: the sum of cross-entropies, and how many were right.
func (s *stepper) judgeGraph(inputs []*Node) []*Node {
	d := s.model.Decoder(nil)
	d.Flash = s.flash
	if s.adapter != nil {
		d.Weights, inputs = s.model.Nodes(inputs)
	}
	params, rest := s.owned.Nodes(inputs)
	if s.adapter == nil {
		d.Weights = params
	} else {
		d.Delta = s.adapter.Bind(params, moelora.Mode{})
	}
	ids, labels := place(d, rest)
	loss, right := d.Judge(d.Forward(ids, nil), nextLabels(labels))
	return []*Node{ConvertDType(loss, dtypes.Float32), right}
}
