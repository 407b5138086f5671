package generate

import (
	"context"
	"math/bits"
	"slices"
	"time"

	"alphalora/internal/engine"

	"github.com/gomlx/gomlx/core/tensors"
)

const (
	// loopChunk is the most tokens that one execution decodes.
	loopChunk = 64
	// stopChunk is that where stop texts are looked for, which only the host can do:
	// what a row decodes behind its stop is lost.
	stopChunk = 16
	// emitEvery is the time between two pieces of a stream: as many tokens are decoded
	// at once as that allows.
	emitEvery = 150 * time.Millisecond
	// firstSlots are the slots for new tokens that a cache has at first; then it doubles.
	firstSlots = 128
	// decodingWork is how many tokens could be read in the time by which a further row
	// lengthens the decoding of one (docs/generation.md: 1.2 ms at 2956 tokens/s).
	decodingWork = 4
)

// batches parts rows, longest prompt first. Prompts at most half as long as the
// longest of a batch wait for the next one: each would be padded to that length.
func (g *Generator) batches(rows []*row) [][]*row {
	sorted := slices.Clone(rows)
	slices.SortStableFunc(sorted, func(a, b *row) int { return len(b.ids) - len(a.ids) })
	var parts [][]*row
	for len(sorted) > 0 {
		n := 1
		for n < min(g.rows, len(sorted)) && 2*Bucket(len(sorted[n].ids)) > Bucket(len(sorted[0].ids)) {
			n++
		}
		parts, sorted = append(parts, sorted[:n]), sorted[n:]
	}
	return parts
}

// Bucket rounds a length up, by at most 32 or an eighth: the lengths that graphs may have.
func Bucket(n int) int { return roundUp(n, max(32, 1<<bits.Len(uint(n-1))/16)) }

func roundUp(n, grain int) int { return (n + grain - 1) / grain * grain }

// fit is the number of rows of the smallest batch that holds n: a power of two, or the
// most that there are.
func (g *Generator) fit(n int) int { return min(1<<bits.Len(uint(n-1)), g.rows) }

// batch is prompts on their way through the device, one row each.
type batch struct {
	*Generator
	options  *Options
	features features
	rows     []*row // some idle
	cache    []*tensors.Tensor
	length   int // of the padded rows that it was filled with
	slots    int // that it has
	made     int // new tokens of each row that is not done
	read     int // those of them that the cache was filled with
	pace     int // tokens of the next execution, where text is streamed
}

// batch continues at most rows prompts.
func (g *Generator) batch(ctx context.Context, rows []*row, o *Options) error {
	b := &batch{Generator: g, options: o, features: o.features(), rows: rows, pace: 1}
	defer func() { free(b.cache) }()
	for b.live() > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		lay := b.layOut
		if b.cache == nil || b.crossed() {
			lay = b.prefill
		}
		if err := lay(); err != nil {
			return err
		}
		if err := b.decode(); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) live() int {
	n := 0
	for _, r := range b.rows {
		if !r.done {
			n++
		}
	}
	return n
}

// crossed tells whether a row has grown over the length from which on the model rotates
// a row in another way, so that the cache must be filled anew. Each token is so the one
// that follows the whole row before it, in whatever batch.
func (b *batch) crossed() bool {
	border := b.model.RopeBorder()
	return slices.ContainsFunc(b.rows, func(r *row) bool {
		return !r.done && len(r.ids)+b.read <= border && len(r.ids)+b.made > border
	})
}

// prefill reads the rows that are not done into a new cache.
func (b *batch) prefill() error {
	b.rows = slices.DeleteFunc(slices.Clone(b.rows), func(r *row) bool { return r.done })
	longest := 0
	for _, r := range b.rows {
		longest = max(longest, len(r.tokens()))
	}
	fresh := min(roundUp(b.options.MaxNewTokens-b.made, stopChunk), firstSlots)
	shape := b.shape("prefill", b.fit(len(b.rows)), Bucket(longest), fresh)
	b.length, b.slots, b.read = shape[1], shape[1]+shape[2], b.made
	for len(b.rows) < shape[0] {
		b.rows = append(b.rows, b.rows[0].idle())
	}
	tokens := make([][]int32, len(b.rows))
	for i, r := range b.rows {
		tokens[i] = r.tokens()
		r.pad = b.length - len(tokens[i])
	}
	ids, pads := padLeft(tokens, len(b.rows), b.length)
	free(b.cache)
	var err error
	b.cache, err = b.run(kernel{name: "prefill", slots: b.slots}, b.prefillGraph(b.slots), append(b.leaves(), ids, pads)...)
	return err
}

// choiceInputs are those of [choice].
func (b *batch) choiceInputs() []any {
	var args []any
	if b.features.sample || b.features.penalty {
		args = append(args, tensors.FromFlatDataAndDimensions(b.options.knobs(), 1, knobCount))
	}
	if b.features.penalty {
		seen := make([]bool, 0, len(b.rows)*b.model.Vocabulary)
		for _, r := range b.rows {
			seen = append(seen, r.seen...)
		}
		args = append(args, tensors.FromFlatDataAndDimensions(seen, len(b.rows), b.model.Vocabulary))
	}
	if b.features.sample {
		draws := make([]float32, len(b.rows)*b.chunk)
		for i := range draws {
			if r := b.rows[i/b.chunk]; !r.done {
				draws[i] = r.draw(b.made + i%b.chunk)
			}
		}
		args = append(args, tensors.FromFlatDataAndDimensions(draws, len(b.rows), b.chunk))
	}
	return args
}

// take gives every row its n new tokens: the first n of each line of tokens.
func (b *batch) take(tokens *tensors.Tensor, n int) error {
	flat, err := engine.ReadValues[int32](tokens)
	if err != nil {
		return err
	}
	free([]*tensors.Tensor{tokens})
	width := len(flat) / len(b.rows)
	for i, r := range b.rows {
		for _, id := range flat[i*width : i*width+n] {
			if err := r.take(id); err != nil {
				return err
			}
		}
	}
	b.made += n
	return nil
}

// layOut gives the cache fewer rows when enough are done, so that they stop costing, and
// more slots when it is full. A finished row's place is not given to a waiting prompt:
// all rows write the same slot, so the cache would have to be shifted and to grow for
// each that joins, and every width and length compiled; sorted by length, prompts of a
// batch are much alike anyway.
func (b *batch) layOut() error {
	slots, rows := b.slots, b.fit(b.live())
	if b.room() == 0 {
		slots = min(2*slots-b.length, b.length+roundUp(b.options.MaxNewTokens-b.read, stopChunk))
	}
	if !b.worthwhile(rows) {
		rows = len(b.rows)
	}
	if slots == b.slots && rows == len(b.rows) {
		return nil
	}
	take, kept := make([]int32, 0, rows), make([]*row, 0, rows)
	for _, wanted := range []bool{false, true} { // those that are not done, then idle ones
		for i, r := range b.rows {
			if r.done == wanted && len(kept) < rows {
				take, kept = append(take, int32(i)), append(kept, r)
			}
		}
	}
	args := []any{tensors.FromFlatDataAndDimensions(take, rows)}
	for _, t := range b.cache {
		args = append(args, t)
	}
	cache, err := b.run(kernel{name: "layout", slots: slots}, layoutGraph(slots), args...)
	if err != nil {
		return err
	}
	free(b.cache)
	b.cache, b.rows, b.slots = cache, kept, slots
	return nil
}

// decode decodes one chunk.
func (b *batch) decode() error {
	steps, begun := b.steps(), time.Now()
	done, last, positions := make([]bool, len(b.rows)), make([]int32, len(b.rows)), make([]int32, len(b.rows))
	for i, r := range b.rows {
		done[i], last[i], positions[i] = r.done, r.last, int32(b.slot()-r.pad)
	}
	args := append(b.leaves(), int32(b.live()), tensors.FromFlatDataAndDimensions(done, len(done)), tensors.FromFlatDataAndDimensions(last, len(last), 1),
		tensors.FromFlatDataAndDimensions(positions, len(positions)), int32(b.slot()), int32(steps), int32(b.keep()), endsTensor(b.options.Ends))
	args = append(args, b.choiceInputs()...)
	for _, t := range b.cache {
		args = append(args, t)
	}
	outs, err := b.run(kernel{name: "decode", features: b.features}, b.decodeGraph(b.features), args...)
	if err != nil {
		return err
	}
	free(b.cache)
	b.cache = outs[2:]
	made, err := engine.ReadScalar[int32](outs[1])
	if err != nil {
		return err
	}
	b.pace = min(2*b.pace, max(1, int(emitEvery*time.Duration(made)/max(time.Since(begun), 1))))
	return b.take(outs[0], int(made))
}

// slot is where the next token goes in, at first the prompt's last one once more.
func (b *batch) slot() int { return b.length + b.made - b.read - 1 }

// room is the number of slots that are left.
func (b *batch) room() int { return b.slots - b.slot() }

// steps is the number of tokens that the next execution decodes at most.
func (b *batch) steps() int {
	n := min(b.chunk, b.options.MaxNewTokens-b.made, b.room())
	for _, r := range b.rows {
		if left := b.model.RopeBorder() - len(r.ids) - b.made; !r.done && left >= 0 {
			n = min(n, left+1)
		}
	}
	switch {
	case b.options.Emit != nil:
		n = min(n, b.pace)
	case len(b.options.Stops) > 0:
		n = min(n, stopChunk)
	}
	return n
}

// keep is the number of rows left at which the execution ends before its time: those
// of the next smaller batch, where that is worthwhile.
func (b *batch) keep() int {
	next := 1 << bits.Len(uint(len(b.rows)-1)) / 2
	if next == 0 || !b.worthwhile(next) {
		return 0
	}
	return min(next, b.live()-1)
}

// worthwhile tells whether going on with so few rows saves more, if they last to the
// limit, than it takes to compile the graphs for them.
func (b *batch) worthwhile(rows int) bool {
	saved := decodingWork * (len(b.rows) - rows) * (b.options.MaxNewTokens - b.made)
	return float64(saved) > b.price
}

// endsTensor is never empty: -1 is no token.
func endsTensor(ends []int32) *tensors.Tensor {
	if len(ends) == 0 {
		ends = []int32{-1}
	}
	return tensors.FromFlatDataAndDimensions(slices.Clone(ends), len(ends))
}

func free(list []*tensors.Tensor) {
	for _, t := range list {
		_ = t.FinalizeAll()
	}
}
