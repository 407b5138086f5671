package generate

import (
	"context"
	"math/bits"
	"slices"
	"time"

	"alphalora/internal/fault"

	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/tensors"
)

const (
	leastPrompt = 32 // tokens of the shortest prompts that are read
	leastSlots  = 64 // of a pool's ring
	mostRead    = 32 // prompts that are read together
	leastSteps  = 4  // tokens that a round decodes at least, where a row has so many to come
	mostSteps   = 16 // and at most: what a row decodes behind its end is lost, and who joins must wait
	spare       = 4  // a ring is laid out smaller when so many times less of it is needed …
	patience    = 16 // … for so many rounds
)

// Asked is a prompt for a [Pool].
type Asked struct {
	IDs []int32
	// Options of this prompt alone. Emit and Progress are not used, and of the parts of the
	// choice only Temperature and TopP.
	Options Options
	// Choice is, for the draws, what a prompt's place in its list is for [Generator.Generate].
	Choice int
	// Scores asks for each token's scores, with those of Top alternatives.
	Scores bool
	Top    int
	// Take is told what a round brought: new text, in whole characters, and the tokens behind
	// it; the last call has a Finish. An error takes the prompt out of the pool.
	Take func(Piece) error
	// Lost is told, where it is not nil, of an error that ended the round with all in it.
	Lost func(error)
}

// Piece is a part of an output.
type Piece struct {
	Text   string
	Tokens []Scored // whose text is told by now; without scores unless asked for
	Finish string   // [Stopped] or [AtLimit] with the last piece
}

// Pool decodes prompts that come and go, whatever the others do. All rows write the same
// slot of a ring (model.Cache), so a prompt can join at any time: what was read of it is
// turned to where the ring is. The ring has a power of two of rows, and of slots at least
// as many as the longest row has tokens; each size is compiled once, when it is first
// needed. Prompts are read together, up to 32, all rows waiting meanwhile.
//
// A pool is not safe for concurrent use, nor is its generator beside it.
type Pool struct {
	*Generator
	most    int     // rows
	seats   []*seat // as many as the ring has rows, nil where one is idle
	fresh   []*seat // that the ring has not read, or must read again
	cache   []*tensors.Tensor
	slots   int // of the ring
	slot    int // written next: by every row with its last token
	perStep time.Duration
	roomy   int // rounds for which the ring has been much too large
}

// seat is a prompt in a pool.
type seat struct {
	*row
	asked  *Asked
	text   string // not told yet
	told   int    // tokens
	scores []Scored
}

// NewPool makes a pool of at most the given number of rows, rounded up to a power of two.
func NewPool(g *Generator, rows int) *Pool {
	return &Pool{Generator: g, most: 1 << bits.Len(uint(max(rows, 1)-1))}
}

// Free is the number of prompts that can be added.
func (p *Pool) Free() int { return p.most - p.Live() }

// Live is the number of prompts that are not done.
func (p *Pool) Live() int {
	n := len(p.fresh)
	for _, s := range p.seats {
		if s != nil && !slices.Contains(p.fresh, s) {
			n++
		}
	}
	return n
}

// Check tells what is wrong with a prompt and its options.
func (g *Generator) Check(a *Asked) error {
	o := a.Options
	if err := o.check(g.model.Vocabulary); err != nil {
		return err
	}
	if o.TopK != 0 || o.MinP != 0 || o.features().penalty {
		return fault.Input("options", "leave them out", "a pool knows no top-k, min-p and repetition penalty")
	}
	if a.Top < 0 || a.Top > MaxTop {
		return fault.Input("top", "use 0 to 20", "is %d", a.Top)
	}
	return g.checkIDs(0, a.IDs)
}

// CheckIDs tells what is wrong with a prompt's tokens.
func (g *Generator) CheckIDs(ids []int32) error { return g.checkIDs(0, ids) }

// Add takes a prompt in, which the next round reads. There must be room.
func (p *Pool) Add(a *Asked) error {
	if err := p.Check(a); err != nil {
		return err
	}
	s := &seat{asked: a}
	o := a.Options
	o.Emit = func(_ int, piece string) error {
		s.text += piece
		return nil
	}
	if o.Text == nil {
		o.Emit = nil
	}
	s.row = newRow(&o, a.Choice, a.IDs, p.model.Vocabulary)
	p.fresh = append(p.fresh, s)
	return nil
}

// Round reads what is new and decodes some tokens of each row. After an error the pool is
// empty, and who was in it has been told.
func (p *Pool) Round(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := p.layOut()
	for err == nil && len(p.fresh) > 0 {
		n := readTogether(len(p.fresh))
		if err = p.read(p.fresh[:n]); err == nil {
			p.fresh = p.fresh[n:]
		}
	}
	if err == nil && p.Live() > 0 {
		err = p.decode()
	}
	if err != nil {
		p.lose(err)
	}
	return err
}

// readTogether is how many of n prompts are read next: their rows are made a power of two,
// and no more than a quarter of them is to be idle.
func readTogether(n int) int {
	rows := ladder(n, 1)
	if 4*n < 3*rows {
		rows /= 2
	}
	return min(n, rows, mostRead)
}

// lose takes all prompts out.
func (p *Pool) lose(err error) {
	for _, s := range slices.Concat(p.fresh, p.seats) {
		if s != nil && !s.done && s.asked.Lost != nil {
			s.asked.Lost(err)
		}
	}
	p.Drop()
}

// layOut gives the ring the rows and slots that are needed now, and each new prompt a row.
func (p *Pool) layOut() error {
	live := slices.DeleteFunc(slices.Clone(p.seats), func(s *seat) bool { return s == nil || slices.Contains(p.fresh, s) })
	need := 0
	for _, s := range slices.Concat(live, p.fresh) {
		length := len(s.ids) + len(s.output.IDs)
		need = max(need, min(length+mostSteps, len(s.ids)+s.options.MaxNewTokens))
	}
	if need == 0 {
		return nil
	}
	rows, slots := ladder(len(live)+len(p.fresh), 1), ladder(need, leastSlots)
	if p.roomy++; len(p.seats) < spare*rows && p.slots < spare*slots {
		p.roomy = 0
	}
	if p.roomy < patience {
		rows, slots = max(rows, len(p.seats)), max(slots, p.slots)
	}
	if err := p.resize(rows, slots); err != nil {
		return err
	}
	for _, s := range p.fresh {
		if !slices.Contains(p.seats, s) {
			p.seats[slices.Index(p.seats, nil)] = s
		}
	}
	return nil
}

// Drop takes all prompts out, without a word, and frees the ring.
func (p *Pool) Drop() {
	free(p.cache)
	p.cache, p.seats, p.fresh, p.slots, p.slot, p.roomy = nil, nil, nil, 0, 0, 0
}

// resize gives the ring so many rows and slots; rows that it has stay in their order.
func (p *Pool) resize(rows, slots int) error {
	if rows == len(p.seats) && slots == p.slots {
		return nil
	}
	if p.cache == nil {
		p.seats, p.slots, p.slot = make([]*seat, rows), slots, slots-1
		return nil
	}
	take, seats := make([]int32, rows), make([]*seat, 0, rows)
	for i, s := range p.seats {
		if s != nil {
			take[len(seats)] = int32(i)
			seats = append(seats, s)
		}
	}
	for len(seats) < rows {
		seats = append(seats, nil)
	}
	args := []any{tensors.FromFlatDataAndDimensions(take, rows), int32((p.slot + 1) % p.slots)}
	cache, err := p.run(kernel{name: "ring", slots: slots}, p.ringGraph(slots), append(args, anys(p.cache)...)...)
	if err != nil {
		return err
	}
	free(p.cache)
	p.cache, p.seats, p.slots, p.slot = cache, seats, slots, slots-1
	return nil
}

// read fills the rows of some prompts.
func (p *Pool) read(list []*seat) error {
	rows, longest := ladder(len(list), 1), 0
	tokens, at := make([][]int32, len(list)), make([]int32, rows)
	for i := range at {
		s := list[0] // idle rows write what the first does, as padLeft has it
		if i < len(list) {
			s = list[i]
			tokens[i] = s.tokens()
			longest = max(longest, len(tokens[i]))
		}
		at[i] = int32(slices.Index(p.seats, s))
	}
	length := min(ladder(longest, leastPrompt), p.slots)
	ids, pads := padLeft(tokens, rows, length)
	fresh, err := p.run(kernel{name: "prefill", slots: length}, p.prefillGraph(length), append(p.leaves(), ids, pads)...)
	if err != nil {
		return err
	}
	defer free(fresh)
	if p.cache == nil {
		p.cache = p.empty(fresh)
	}
	args := []any{tensors.FromFlatDataAndDimensions(at, rows), int32((2*p.slots - p.slot - 1) % p.slots)}
	cache, err := p.run(kernel{name: "join"}, p.joinGraph, append(append(args, anys(fresh)...), anys(p.cache)...)...)
	if err != nil {
		return err
	}
	free(p.cache)
	p.cache = cache
	return nil
}

// empty is a ring of zeros for tokens that were read.
func (p *Pool) empty(fresh []*tensors.Tensor) []*tensors.Tensor {
	ring := make([]*tensors.Tensor, len(fresh))
	for i, t := range fresh {
		dims := slices.Clone(t.Shape().Dimensions)
		dims[0], dims[2] = len(p.seats), p.slots
		ring[i] = tensors.FromShape(shapes.Make(t.DType(), dims...))
	}
	return ring
}

func anys(list []*tensors.Tensor) []any {
	args := make([]any, len(list))
	for i, t := range list {
		args[i] = t
	}
	return args
}
