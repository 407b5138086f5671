package data

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"alphalora/internal/fault"
)

// Ignored is the label of a position that carries no loss.
const Ignored = -100

// Batch is a micro-batch ready for the device: row-major, padded on the right.
type Batch struct {
	IDs, Labels  []int32 // [Rows, Length]; Labels is Ignored where there is no loss
	Lengths      []int32 // [Rows] real tokens; 0 for a row that only fills the shape
	Rows, Length int
	Targets      int // tokens after a row's first that carry loss
}

// Tokens is the number of real tokens.
func (b Batch) Tokens() int {
	n := 0
	for _, l := range b.Lengths {
		n += int(l)
	}
	return n
}

// Plan is how samples become steps.
type Plan struct {
	Batch         int // samples of an optimiser step
	Micro         int // rows that run together; Batch is a multiple
	Shuffle       bool
	GroupByLength bool // like lengths together, the steps in random order
	Seed          uint64
}

// megaSteps is how many steps' samples are sorted by length together: enough for little
// padding, few enough to stay random. transformers' sampler has the same number.
const megaSteps = 50

// Batcher deals samples out as steps, epoch after epoch. What comes is a function of the
// samples, the plan and the number of the step alone.
type Batcher struct {
	samples []Sample
	plan    Plan
	step    int     // the next one, from 0 over all epochs
	epoch   int     // whose order lies in steps
	steps   [][]int // sample numbers of each step of that epoch
}

// NewBatcher makes a batcher that begins at step 0.
func NewBatcher(samples []Sample, p Plan) (*Batcher, error) {
	if p.Batch < 1 || p.Micro < 1 || p.Batch%p.Micro != 0 {
		return nil, fault.Input("training.batch", "make batch a multiple of micro_batch, both 1 or more", "batch is %d, micro_batch %d", p.Batch, p.Micro)
	}
	if len(samples) == 0 {
		return nil, fault.Input("data.train", "give at least one sample", "has no sample")
	}
	return &Batcher{samples: samples, plan: p, epoch: -1}, nil
}

// StepsPerEpoch is the number of steps in which every sample comes once.
func (b *Batcher) StepsPerEpoch() int { return (len(b.samples) + b.plan.Batch - 1) / b.plan.Batch }

// Seek makes step, from 0, the next one.
func (b *Batcher) Seek(step int) { b.step = step }

// Next deals the micro-batches of the next step; the last step of an epoch may have fewer.
func (b *Batcher) Next() []Batch {
	epoch, at := b.step/b.StepsPerEpoch(), b.step%b.StepsPerEpoch()
	if epoch != b.epoch {
		b.epoch, b.steps = epoch, b.order(epoch)
	}
	b.step++
	var batches []Batch
	for part := range slices.Chunk(b.steps[at], b.plan.Micro) {
		batches = append(batches, b.pack(part))
	}
	return batches
}

// order arranges the samples of one epoch.
func (b *Batcher) order(epoch int) [][]int {
	rng := rand.New(rand.NewPCG(b.plan.Seed, uint64(epoch)))
	order := make([]int, len(b.samples))
	for i := range order {
		order[i] = i
	}
	if b.plan.Shuffle {
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	var steps [][]int
	for mega := range slices.Chunk(order, megaSteps*b.plan.Batch) {
		if b.plan.GroupByLength {
			slices.SortStableFunc(mega, func(i, j int) int {
				return cmp.Compare(len(b.samples[j].IDs), len(b.samples[i].IDs))
			})
		}
		from := len(steps)
		steps = slices.AppendSeq(steps, slices.Chunk(mega, b.plan.Batch))
		if b.plan.GroupByLength && b.plan.Shuffle {
			part := steps[from:]
			rng.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
		}
	}
	return steps
}

// pack lays samples out as one micro-batch; missing rows stay empty.
func (b *Batcher) pack(part []int) Batch {
	longest := 1
	for _, i := range part {
		longest = max(longest, len(b.samples[i].IDs))
	}
	m := Batch{Rows: b.plan.Micro, Length: Bucket(longest)}
	m.IDs, m.Labels = make([]int32, m.Rows*m.Length), make([]int32, m.Rows*m.Length)
	m.Lengths = make([]int32, m.Rows)
	for i := range m.Labels {
		m.Labels[i] = Ignored
	}
	for row, i := range part {
		s := b.samples[i]
		labels := s.Labels
		if labels == nil {
			labels = s.IDs
		}
		copy(m.IDs[row*m.Length:], s.IDs)
		copy(m.Labels[row*m.Length:], labels)
		m.Lengths[row] = int32(len(s.IDs))
		m.Targets += s.targets()
	}
	return m
}

// Bucket rounds a length up to one of few: steps of 32 to 128, of 64 to 512, of 256 above.
func Bucket(length int) int {
	grain := 256
	switch {
	case length <= 128:
		grain = 32
	case length <= 512:
		grain = 64
	}
	return (length + grain - 1) / grain * grain
}
