package data

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"alphalora/internal/fault"
)

// Samples is what a [Batcher] deals out.
type Samples interface {
	Len() int
	Tokens(i int) int // the length of a sample
	Sample(i int) (Sample, error)
}

// List is samples in memory.
type List []Sample

// Len is the number of samples.
func (l List) Len() int { return len(l) }

// Tokens is the length of a sample.
func (l List) Tokens(i int) int { return len(l[i].IDs) }

// Sample returns a sample.
func (l List) Sample(i int) (Sample, error) { return l[i], nil }

// Plan is how samples become steps.
type Plan struct {
	Batch         int // samples of an optimiser step
	Micro         int // rows that run together; without packing, Batch is a multiple
	Shuffle       bool
	GroupByLength bool // like lengths together, the steps in random order
	Seed          uint64
	Shares        []Share // nil: every sample once an epoch
	Pack          int     // most tokens of a row that holds several samples; 0: each has a row
}

// Share is samples From to To-1, each of which comes Weight times an epoch: a whole part
// of it always, the rest by a draw.
type Share struct {
	From, To int
	Weight   float64
}

// drawn is how many of a share's samples come in an epoch beyond the whole times.
func (s Share) drawn() int {
	_, rest := math.Modf(s.Weight)
	return int(math.Round(rest * float64(s.To-s.From)))
}

// Count is how many samples an epoch has of a share.
func (s Share) Count() int { return int(s.Weight)*(s.To-s.From) + s.drawn() }

// megaSteps is how many steps' samples are sorted by length together: enough for little
// padding, few enough to stay random. transformers' sampler has the same number.
const megaSteps = 50

// Batcher deals samples out as steps, epoch after epoch. What comes is a function of the
// samples, the plan and the number of the step alone.
type Batcher struct {
	samples Samples
	plan    Plan
	size    int       // samples of an epoch
	epoch   int       // whose order lies in steps
	steps   [][]int32 // sample numbers of each step of that epoch
}

// NewBatcher makes a batcher.
func NewBatcher(samples Samples, p Plan) (*Batcher, error) {
	if p.Batch < 1 || p.Micro < 1 || p.Batch%p.Micro != 0 {
		return nil, fault.Input("training.batch", "make batch a multiple of micro_batch, both 1 or more", "batch is %d, micro_batch %d", p.Batch, p.Micro)
	}
	if samples.Len() == 0 {
		return nil, fault.Input("data.train", "give at least one sample", "has no sample")
	}
	if p.Shares == nil {
		p.Shares = []Share{{0, samples.Len(), 1}}
	}
	b := &Batcher{samples: samples, plan: p, epoch: -1}
	for _, s := range p.Shares {
		b.size += s.Count()
	}
	switch {
	case b.size == 0:
		return nil, fault.Input("data.weights", "raise them", "leave no sample in an epoch")
	case b.size > math.MaxInt32:
		return nil, fault.Input("data.weights", "lower them", "make an epoch of %d samples", b.size)
	}
	return b, nil
}

// EpochSize is the number of samples of an epoch.
func (b *Batcher) EpochSize() int { return b.size }

// StepsPerEpoch is the number of steps in which the samples of an epoch come.
func (b *Batcher) StepsPerEpoch() int { return (b.size + b.plan.Batch - 1) / b.plan.Batch }

// Step makes the micro-batches of a step, counted from 0 over all epochs; the last step of
// an epoch may have fewer. It is not for concurrent use.
func (b *Batcher) Step(step int) ([]Batch, error) {
	epoch, at := step/b.StepsPerEpoch(), step%b.StepsPerEpoch()
	if epoch != b.epoch {
		b.epoch, b.steps = epoch, b.order(epoch)
	}
	if b.plan.Pack > 0 {
		return b.packed(b.steps[at])
	}
	var batches []Batch
	for part := range slices.Chunk(b.steps[at], b.plan.Micro) {
		batch, err := b.padded(part)
		if err != nil {
			return nil, err
		}
		batches = append(batches, batch)
	}
	return batches, nil
}

// order arranges the samples of one epoch.
func (b *Batcher) order(epoch int) [][]int32 {
	rng := rand.New(rand.NewPCG(b.plan.Seed, uint64(epoch)))
	order := b.drawn(epoch)
	if b.plan.Shuffle {
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	steps := make([][]int32, 0, b.StepsPerEpoch())
	for mega := range slices.Chunk(order, megaSteps*b.plan.Batch) {
		if b.plan.GroupByLength {
			slices.SortStableFunc(mega, func(i, j int32) int {
				return cmp.Compare(b.samples.Tokens(int(j)), b.samples.Tokens(int(i)))
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

// drawn lists the samples of an epoch, share by share in the order of the samples.
func (b *Batcher) drawn(epoch int) []int32 {
	order := make([]int32, 0, b.size)
	for number, s := range b.plan.Shares {
		for range int(s.Weight) {
			for i := s.From; i < s.To; i++ {
				order = append(order, int32(i))
			}
		}
		// Each of those left is taken with the chance that makes all draws equally likely.
		// Source: Fan, Muller and Rezucha, 1962.
		rng := rand.New(rand.NewPCG(b.plan.Seed^uint64(number+1)<<32, uint64(epoch)))
		for i, want := s.From, s.drawn(); want > 0; i++ {
			if rng.IntN(s.To-i) < want {
				order = append(order, int32(i))
				want--
			}
		}
	}
	return order
}
