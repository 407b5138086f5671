package train

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"alphalora/model"
	"alphalora/moelora"
	"alphalora/train/data"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"
)

// counting makes samples of a rule that can be learnt, of many lengths.
func counting(from, count, longest int) data.List {
	var list data.List
	for i := range count {
		s := data.Sample{}
		for j := range 5 + (from+i*17)%(longest-4) {
			s.IDs = append(s.IDs, int32((from+i*5+j*3)%40))
		}
		list = append(list, s)
	}
	return list
}

// trial is a run on counting samples.
type trial struct {
	total, patience, longest int
	rate                     float64
	resume                   bool
	kept                     func(a *moelora.Adapter) error
}

func (c trial) run(t *testing.T, dir string) (*moelora.Adapter, []Metrics, []string) {
	m, a := tiny(t)
	b, err := data.NewBatcher(counting(0, 24, c.longest), data.Plan{Batch: 8, Micro: 4, Shuffle: true, Seed: 8})
	require.NoError(t, err)
	held, err := data.NewBatcher(counting(3, 10, c.longest), data.Plan{Batch: 4, Micro: 4, GroupByLength: true})
	require.NoError(t, err)
	q := quick()
	var log []string
	keep := func() error {
		if c.kept != nil {
			return c.kept(a)
		}
		return nil
	}
	err = Run(t.Context(), m, a, b, Options{Output: dir, Schedule: Schedule{Kind: Constant, Peak: c.rate, Total: c.total},
		Optimizer: q.optimizer, MaxGradNorm: 1, Balance: 0.01, Seed: 4,
		Validation:  Validation{Held: held, Every: 2, Patience: c.patience, Keep: keep},
		Log:         func(line string) { log = append(log, line) },
		Checkpoints: Checkpoints{Dir: dir + "/checkpoints", Every: 3, Keep: 1, Resume: c.resume}})
	require.NoError(t, err)
	rows, err := ReadMetrics(dir)
	require.NoError(t, err)
	return a, rows, log
}

// TestValidation holds when a run is judged, by what, and what is kept.
func TestValidation(t *testing.T) {
	var kept [][]float32
	_, rows, log := trial{total: 7, longest: 60, rate: 1e-2, kept: func(a *moelora.Adapter) error {
		values, err := model.Float32s(a.Params.Tensors[0])
		kept = append(kept, append([]float32(nil), values...))
		return err
	}}.run(t, t.TempDir())
	require.Len(t, rows, 7)
	best, improved := math.Inf(1), 0
	for _, row := range rows {
		if row.Step%2 != 0 && row.Step != 7 {
			require.Nil(t, row.ValidationLoss)
			continue
		}
		require.NotNil(t, row.ValidationLoss, "step %d", row.Step)
		require.True(t, *row.ValidationAccuracy >= 0 && *row.ValidationAccuracy <= 1)
		if *row.ValidationLoss < best {
			best = *row.ValidationLoss
			improved++
		}
	}
	require.Less(t, *rows[6].ValidationLoss, *rows[1].ValidationLoss, "it learns")
	require.Len(t, kept, improved)
	require.NotEqual(t, kept[0], kept[1])
	require.Contains(t, strings.Join(log, "\n"), "step 7: validation loss")
	requireFewCompilations(t, log)
}

// requireFewCompilations holds that a graph is compiled once a length bucket, and told.
func requireFewCompilations(t *testing.T, log []string) {
	buckets := map[int]bool{}
	for _, s := range counting(0, 24, 60) {
		buckets[data.Bucket(len(s.IDs))] = true
	}
	require.Len(t, buckets, 2)
	counts := map[string]int{}
	for _, line := range log {
		if rest, ok := strings.CutPrefix(line, "compiled "); ok {
			counts[strings.Fields(rest)[0]]++
		}
	}
	for _, graph := range []string{"accumulate", "validate"} {
		require.Positive(t, counts[graph])
		require.LessOrEqual(t, counts[graph], len(buckets))
	}
	require.Equal(t, 1, counts["apply"])
}

// TestValidationIsTheLossOfTheSamples holds it against training's own loss on them.
func TestValidationIsTheLossOfTheSamples(t *testing.T) {
	for _, full := range []bool{false, true} {
		m, a := tiny(t)
		if full {
			a = nil
		}
		st, err := newStepper(m, a, settings{})
		require.NoError(t, err)
		defer st.close()
		held, err := data.NewBatcher(counting(3, 10, 30), data.Plan{Batch: 4, Micro: 4})
		require.NoError(t, err)
		loss, accuracy, err := st.judge(t.Context(), held)
		require.NoError(t, err)
		all, err := data.NewBatcher(counting(3, 10, 30), data.Plan{Batch: 12, Micro: 4})
		require.NoError(t, err)
		batches, err := all.Step(0)
		require.NoError(t, err)
		_, sums, err := st.gradients(1, batches)
		require.NoError(t, err)
		require.InDelta(t, st.report(batches, sums, 0).loss, loss, 1e-4)
		targets, _ := totals(batches)
		require.InDelta(t, rightGuesses(t, m, batches), accuracy*float64(targets), 1e-4)
	}
}

// rightGuesses counts, from the scores of the base alone, the targets that score highest.
func rightGuesses(t *testing.T, m *model.Model, batches []data.Batch) (right int) {
	for _, b := range batches {
		exec, err := NewExec(m.Engine.Backend, func(inputs []*Node) *Node {
			d := m.Decoder(nil)
			var rest []*Node
			d.Weights, rest = m.Nodes(inputs)
			return d.Logits(d.Forward(rest[0], nil))
		})
		require.NoError(t, err)
		var args []any
		for _, w := range m.Tensors {
			args = append(args, w)
		}
		scores, err := tensors.CopyFlatData[float32](exec.MustCall(append(args, tensors.FromFlatDataAndDimensions(b.IDs, b.Rows, b.Length))...)[0])
		require.NoError(t, err)
		for at := range b.Rows * b.Length {
			if next := at + 1; next%b.Length != 0 && b.Labels[next] >= 0 {
				row := scores[at*m.Vocabulary : next*m.Vocabulary]
				if slices.Index(row, slices.Max(row)) == int(b.Labels[next]) {
					right++
				}
			}
		}
	}
	return right
}

// TestPatience ends a run that does not get better, and a resumed one at the same step.
func TestPatience(t *testing.T) {
	dir := t.TempDir()
	c := trial{total: 40, longest: 30, patience: 2, rate: 0.5} // far too high
	_, rows, log := c.run(t, dir)
	require.Less(t, len(rows), 40)
	s := standingOf(rows)
	require.Equal(t, 2, s.since)
	require.Contains(t, log[len(log)-1], "the run ends")

	c.resume = true
	calls := 0
	c.kept = func(*moelora.Adapter) error { calls++; return nil }
	_, again, _ := c.run(t, dir)
	require.Len(t, again, len(rows))
	for i := range rows {
		rows[i].Seconds, again[i].Seconds = 0, 0
	}
	require.Equal(t, rows, again, "bit for bit")
	replayed := standingOf(rows[:len(rows)/3*3])
	require.Equal(t, s.best, standingOf(again).best)
	require.LessOrEqual(t, calls, 1+replayed.since, "what was better before the checkpoint stays the best")
}

func TestKeepFails(t *testing.T) {
	m, a := tiny(t)
	held, err := data.NewBatcher(counting(3, 4, 30), data.Plan{Batch: 4, Micro: 4})
	require.NoError(t, err)
	full := errors.New("the disk is full")
	err = Run(t.Context(), m, a, held, Options{Output: t.TempDir(), Schedule: Schedule{Kind: Constant, Peak: 1e-3, Total: 1}, Optimizer: quick().optimizer,
		Validation: Validation{Held: held, Every: 1, Keep: func() error { return full }}})
	require.ErrorIs(t, err, full)
}

func TestStanding(t *testing.T) {
	loss := func(v float64) Metrics { return Metrics{ValidationLoss: &v} }
	require.Equal(t, standing{best: 2, since: 2}, standingOf([]Metrics{loss(3), {}, loss(2), loss(2), {}, loss(2.5)}))
	require.Equal(t, standing{best: math.Inf(1)}, standingOf([]Metrics{{}, {}}))
	require.False(t, Validation{}.over(standing{since: 100}))
}
