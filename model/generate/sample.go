package generate

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// features says which parts of the choice of a token are in a graph: what is not asked
// for costs nothing. Their numbers are inputs, so that changing them compiles nothing.
type features struct {
	sample, penalty, topK, topP, minP bool

	mixed bool // some rows draw, others take the likeliest
	top   int  // the scores of so many likeliest tokens beside the chosen one's; 0: no scores
}

func (o *Options) features() features {
	sample := o.Temperature > 0
	return features{
		sample:  sample,
		penalty: o.RepetitionPenalty != 0 && o.RepetitionPenalty != 1,
		topK:    sample && o.TopK > 0,
		topP:    sample && o.TopP != 0 && o.TopP < 1,
		minP:    sample && o.MinP > 0,
	}
}

// Places of the numbers in the graph's input of knobs.
const (
	temperatureKnob = iota
	topKKnob
	topPKnob
	minPKnob
	penaltyKnob
	likeliestKnob // 1: this row does not draw
	knobCount
)

func (o *Options) knobs() []float32 {
	k := make([]float32, knobCount)
	k[temperatureKnob], k[topKKnob], k[topPKnob] = float32(o.Temperature), float32(o.TopK), float32(o.TopP)
	k[minPKnob], k[penaltyKnob] = float32(o.MinP), float32(o.RepetitionPenalty)
	return k
}

// choice holds the inputs of the choice of a token; those that no feature needs are nil.
type choice struct {
	knobs *Node // f32 [1 or B, knobCount]
	seen  *Node // bool [B, V]: the row's prompt or output has the token
	draws *Node // f32 [B, steps]: uniform in (0, 1]
}

// nodes lists the inputs that f needs, and read is its inverse.
func (c *choice) nodes(f features) []*Node {
	var list []*Node
	if f.sample || f.penalty {
		list = append(list, c.knobs)
	}
	if f.penalty {
		list = append(list, c.seen)
	}
	if f.sample {
		list = append(list, c.draws)
	}
	return list
}

func (c *choice) read(f features, list []*Node) (rest []*Node) {
	if f.sample || f.penalty {
		c.knobs, list = list[0], list[1:]
	}
	if f.penalty {
		c.seen, list = list[0], list[1:]
	}
	if f.sample {
		c.draws, list = list[0], list[1:]
	}
	return list
}

func (c *choice) knob(at int, like *Node) *Node {
	return BroadcastToDims(SliceAxis(c.knobs, 1, AxisElem(at)), like.Shape().Dimensions...)
}

// choose picks each row's next token: logits f32 [B, V], column of draws (a scalar) →
// [B, 1]. The order of the parts, and what each keeps, are those of transformers'
// logits processors, but that tokens of equal score at an edge are kept together.
func (c *choice) choose(f features, logits, column *Node) *Node {
	if f.penalty {
		p := c.knob(penaltyKnob, logits)
		worse := Where(LessThan(logits, ZerosLike(logits)), Mul(logits, p), Div(logits, p))
		logits = Where(c.seen, worse, logits)
	}
	if !f.sample {
		return likeliest(logits)
	}
	if f.mixed {
		drawn := f
		drawn.mixed, drawn.penalty = false, false
		best := likeliest(logits)
		return Where(GreaterThan(c.knob(likeliestKnob, best), ZerosLike(c.knob(likeliestKnob, best))), best, c.choose(drawn, logits, column))
	}
	behind := Sub(BroadcastToDims(ReduceAndKeep(logits, ReduceMax, -1), logits.Shape().Dimensions...), logits)
	behind = Div(behind, c.knob(temperatureKnob, logits)) // ≥ 0, how far each token is behind the best
	weight := Exp(Neg(behind))                            // the best's is 1
	none := ZerosLike(weight)
	rank := Bitcast(behind, dtypes.Int32) // in the order of behind, which has no sign
	if f.topK {
		k := SliceAxis(c.knob(topKKnob, logits), 1, AxisRange(0, 1))
		edge := reach(rank, OnesLike(weight), k, 31)
		weight = Where(LessOrEqual(rank, BroadcastToDims(edge, rank.Shape().Dimensions...)), weight, none)
	}
	if f.topP {
		p := Mul(SliceAxis(c.knob(topPKnob, logits), 1, AxisRange(0, 1)), ReduceAndKeep(weight, ReduceSum, -1))
		edge := reach(rank, weight, p, 31)
		weight = Where(LessOrEqual(rank, BroadcastToDims(edge, rank.Shape().Dimensions...)), weight, none)
	}
	if f.minP {
		weight = Where(LessThan(weight, c.knob(minPKnob, logits)), none, weight)
	}
	at := Iota(logits.Graph(), shapes.Make(dtypes.Int32, logits.Shape().Dimensions...), 1)
	target := Mul(c.draw(column), ReduceAndKeep(weight, ReduceSum, -1))
	return reach(at, weight, target, bits.Len(uint(logits.Shape().Dim(1)-1)))
}

// likeliest is each row's token of the greatest score: [B, V] → [B, 1].
func likeliest(logits *Node) *Node { return ExpandAxes(ArgMax(logits, -1, dtypes.Int32), -1) }

// draw takes one column of the draws: [B, 1].
func (c *choice) draw(column *Node) *Node {
	b, n := c.draws.Shape().Dim(0), c.draws.Shape().Dim(1)
	at := Equal(Iota(column.Graph(), shapes.Make(dtypes.Int32, b, n), 1), BroadcastToDims(column, b, n))
	return ReduceAndKeep(Where(at, c.draws, ZerosLike(c.draws)), ReduceSum, -1)
}

// note adds tokens [B, 1] to the seen.
func (c *choice) note(tokens *Node) {
	b, v := c.seen.Shape().Dim(0), c.seen.Shape().Dim(1)
	at := Iota(tokens.Graph(), shapes.Make(dtypes.Int32, b, v), 1)
	c.seen = Or(c.seen, Equal(at, BroadcastToDims(tokens, b, v)))
}

// reach is, in each row, the smallest key at which the weights, summed in the order of
// the keys, reach the target: keys from 0 to 2^width-1 and weights ≥ 0, both [B, V],
// target [B, 1] → [B, 1]; the largest key possible where they never do. Top-k, top-p and
// the draw are all of this form.
//
// It is found bit by bit, with one sum over the row each. A sort would need a function
// of its own inside the loop's, which gomlx cannot nest; and a sum that leaves out
// weights is never larger, whatever the rounding, which a product of matrices (on a GPU
// in TF32) does not promise.
func reach(keys, weights, target *Node, width int) *Node {
	none := ZerosLike(weights)
	edge := Zeros(keys.Graph(), shapes.Make(dtypes.Int32, keys.Shape().Dim(0), 1))
	for bit := width - 1; bit >= 0; bit-- {
		higher := AddScalar(edge, int32(1)<<bit)
		below := LessThan(keys, BroadcastToDims(higher, keys.Shape().Dimensions...))
		mass := ReduceAndKeep(Where(below, weights, none), ReduceSum, -1)
		edge = Where(LessThan(mass, target), higher, edge)
	}
	return edge
}

// randomOf makes the random numbers of one prompt: they depend on the seed and the
// prompt's place in the caller's list alone, the n-th belonging to the n-th new token,
// so that a sample does not change with the batch it is drawn in.
func randomOf(seed uint64, prompt int) *rand.Rand {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	binary.LittleEndian.PutUint64(key[8:], uint64(prompt))
	return rand.New(rand.NewChaCha8(key))
}

// uniform draws from (0, 1]: above 0, because a token is drawn where the mass reaches
// the number, and a token of no weight reaches 0.
func uniform(r *rand.Rand) float32 { return 1 - r.Float32() }
