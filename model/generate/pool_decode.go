package generate

import (
	"slices"
	"time"

	"alphalora/internal/engine"

	"github.com/gomlx/gomlx/core/tensors"
)

// features are those that any of the rows needs. Rows that do not draw stay with the
// likeliest token beside those that do.
func (p *Pool) features() features {
	f := features{}
	for _, s := range p.seats {
		if s == nil {
			continue
		}
		if s.options.Temperature > 0 {
			f.sample, f.topP, f.mixed = true, true, true
		}
		if s.asked.Scores {
			f.top = max(f.top, min(topStep(s.asked.Top), p.model.Vocabulary))
		}
	}
	return f
}

// decode decodes some tokens of each row, and tells who asked.
func (p *Pool) decode() error {
	f, steps, begun := p.features(), p.steps(), time.Now()
	b := len(p.seats)
	done, last, positions := make([]bool, b), make([]int32, b), make([]int32, b)
	for i, s := range p.seats {
		if done[i] = s == nil; !done[i] {
			last[i], positions[i] = s.last, int32(len(s.ids)+len(s.output.IDs)-1)
		}
	}
	args := append(p.leaves(), int32(p.Live()), tensors.FromFlatDataAndDimensions(done, b), tensors.FromFlatDataAndDimensions(last, b, 1),
		tensors.FromFlatDataAndDimensions(positions, b), int32(p.slot), int32(steps), int32(0), endsTensor(p.ends()))
	args = append(args, p.choiceInputs(f)...)
	outs, err := p.run(kernel{name: "decode", features: f}, p.decodeGraph(f), append(args, anys(p.cache)...)...)
	if err != nil {
		return err
	}
	free(p.cache)
	p.cache = outs[2+f.scored():]
	defer free(outs[:2+f.scored()])
	count, err := engine.ReadScalar[int32](outs[1])
	if err != nil {
		return err
	}
	made := int(count)
	p.slot = (p.slot + made) % p.slots
	p.perStep = time.Since(begun) / time.Duration(max(made, 1))
	return p.take(outs, made, f)
}

// ends are the end tokens of all rows; they differ only where callers mix models' own and
// none, and then the host alone looks for them.
func (p *Pool) ends() []int32 {
	var ends []int32
	first := true
	for _, s := range p.seats {
		if s == nil {
			continue
		}
		if first {
			ends, first = s.options.Ends, false
		} else if !slices.Equal(ends, s.options.Ends) {
			return nil
		}
	}
	return ends
}

// steps is the number of tokens of the next execution: many where they are quick, but no
// more than any row has to come.
func (p *Pool) steps() int {
	n := mostSteps
	if p.perStep > 0 {
		n = min(max(int(emitEvery/p.perStep), leastSteps), mostSteps)
	}
	longest := 0
	for _, s := range p.seats {
		if s == nil {
			continue
		}
		longest = max(longest, s.options.MaxNewTokens-len(s.output.IDs))
		if left := p.model.RopeBorder() - len(s.ids) - len(s.output.IDs); left >= 0 {
			n = min(n, left+1)
		}
	}
	return min(n, longest, p.chunk)
}

// choiceInputs are those of [choice].
func (p *Pool) choiceInputs(f features) []any {
	if !f.sample {
		return nil
	}
	b := len(p.seats)
	knobs, draws := make([]float32, 0, b*knobCount), make([]float32, b*p.chunk)
	for i, s := range p.seats {
		k := make([]float32, knobCount)
		k[temperatureKnob], k[topPKnob], k[likeliestKnob] = 1, everything, 1
		if s != nil && s.options.Temperature > 0 {
			k[temperatureKnob], k[likeliestKnob] = float32(s.options.Temperature), 0
			if s.options.features().topP {
				k[topPKnob] = float32(s.options.TopP)
			}
			for j := range min(p.chunk, mostSteps) {
				draws[i*p.chunk+j] = s.draw(len(s.output.IDs) + j)
			}
		}
		knobs = append(knobs, k...)
	}
	return []any{tensors.FromFlatDataAndDimensions(knobs, b, knobCount), tensors.FromFlatDataAndDimensions(draws, b, p.chunk)}
}

// everything is a share of the probability that no tokens reach, so that all are kept.
const everything = 2

// take gives every row its n new tokens and tells who asked; who is done leaves.
func (p *Pool) take(outs []*tensors.Tensor, n int, f features) error {
	flat, err := engine.ReadValues[int32](outs[0])
	if err != nil {
		return err
	}
	var sheet scoreSheet
	if f.top > 0 {
		if sheet, err = readScores(outs[2:]); err != nil {
			return err
		}
	}
	border := p.model.RopeBorder()
	for i, s := range p.seats {
		if s == nil {
			continue
		}
		before := len(s.ids) + len(s.output.IDs)
		for j := i * p.chunk; j < i*p.chunk+n && !s.done; j++ {
			if s.asked.Scores {
				s.scores = append(s.scores, sheet.at(j, flat[j], s.asked.Top))
			}
			if err := s.take(flat[j]); err != nil {
				return err
			}
		}
		if s.tell() != nil || s.done {
			p.seats[i] = nil
		} else if before <= border && len(s.ids)+len(s.output.IDs) > border {
			p.fresh = append(p.fresh, s) // keys of short rows are rotated in another way
		}
	}
	return nil
}

// tell hands over what has come.
func (s *seat) tell() error {
	piece := Piece{Text: s.text, Finish: s.output.Finish}
	s.text = ""
	to := len(s.output.IDs)
	if s.stream != nil && !s.done { // tokens whose text is still withheld wait with it
		to = s.told
		for _, m := range s.marks {
			if m.bytes <= s.emitted {
				to = max(to, m.tokens)
			}
		}
	}
	for i := s.told; i < to; i++ {
		one := Scored{ID: s.output.IDs[i]}
		if s.asked.Scores {
			one = s.scores[i]
		}
		piece.Tokens = append(piece.Tokens, one)
	}
	s.told = max(s.told, to)
	return s.asked.Take(piece)
}
