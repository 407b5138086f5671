package model

import (
	"alphalora/model/nn"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// MaxScores bounds how many scores of the vocabulary a loss holds at once: 128 MiB in f32.
const MaxScores = 1 << 25

// CrossEntropy is the sum over tokens of -log softmax([Decoder.Logits](hidden))[label], in
// f32: hidden [N, C], labels [N], negative where there is no loss → scalar.
//
// Where the scores of all tokens would be more than MaxScores, they are computed for some
// tokens at a time, and the gradients of each piece beside its loss, while its scores are
// there. Neither pass holds [N, V] then, and no score is computed twice. The idea is that
// of Hsu et al., Liger Kernel, 2024. A second derivative of the loss is zero there.
func (d *Decoder) CrossEntropy(hidden, labels *Node) *Node {
	pieces := d.pieces(hidden, labels)
	if len(pieces) == 1 {
		return ReduceAllSum(nn.CrossEntropy(d.Logits(hidden), labels))
	}
	head := d.Weights[d.headWeight()]
	var loss, toHead *Node
	var toHidden []*Node
	for i, p := range pieces {
		x := p.hidden
		if i > 0 { // one after the other, or their scores would lie side by side
			x = SchedulingBarrier(x, toHidden[i-1])
		}
		x = Identity(StopGradient(x))
		sum := ReduceAllSum(nn.CrossEntropy(d.Logits(x), p.labels))
		of := []*Node{x}
		if d.Full {
			of = append(of, head)
		}
		gradients := Gradient(sum, of...)
		loss, toHidden = plus(loss, sum), append(toHidden, gradients[0])
		if d.Full {
			toHead = plus(toHead, ConvertDType(gradients[1], dtypes.Float32))
		}
	}
	loss = Add(StopGradient(loss), along(hidden, d.rejoin(toHidden)))
	if d.Full {
		loss = Add(loss, along(head, toHead))
	}
	return loss
}

// along is 0, with the gradient g for x.
func along(x, g *Node) *Node {
	sum := ReduceAllSum(Mul(ConvertDType(x, dtypes.Float32), StopGradient(ConvertDType(g, dtypes.Float32))))
	return Sub(sum, StopGradient(sum))
}

func plus(a, b *Node) *Node {
	if a == nil {
		return b
	}
	return Add(a, b)
}

// Judge is [Decoder.CrossEntropy] and the number of tokens whose label has the highest
// score, of equal ones the first: both scalars, in f32 and i32. It has no gradient.
func (d *Decoder) Judge(hidden, labels *Node) (loss, right *Node) {
	for _, p := range d.pieces(hidden, labels) {
		x := p.hidden
		if loss != nil {
			x = SchedulingBarrier(x, loss)
		}
		logits := d.Logits(x)
		hit := Equal(ArgMax(logits, -1, labels.DType()), p.labels)
		loss = plus(loss, ReduceAllSum(nn.CrossEntropy(logits, p.labels)))
		right = plus(right, ReduceAllSum(ConvertDType(hit, dtypes.Int32)))
	}
	return loss, right
}

// piece is some tokens of a loss: [n, C] and [n].
type piece struct{ hidden, labels *Node }

// pieces cuts tokens into as few like parts as keep within the bound of scores.
func (d *Decoder) pieces(hidden, labels *Node) []piece {
	most := d.MaxScores
	if most == 0 {
		most = MaxScores
	}
	devices := max(d.Devices, 1)
	n := hidden.Shape().Dim(0) / devices // of each device, which holds its own scores
	size := max(1, most/d.Vocabulary)
	count := (n + size - 1) / size
	if count <= 1 {
		return []piece{{hidden, labels}}
	}
	list := make([]piece, count)
	for i := range list {
		part := AxisRange(i*n/count, (i+1)*n/count)
		of := func(x *Node) *Node { // of the tokens of each device
			dims := x.Shape().Dimensions
			cut := SliceAxis(Reshape(x, append([]int{devices, n}, dims[1:]...)...), 1, part)
			return Reshape(cut, append([]int{-1}, dims[1:]...)...)
		}
		list[i] = piece{of(hidden), of(labels)}
	}
	return list
}

// rejoin puts what belongs to the pieces' tokens [n, C] together again: [N, C].
func (d *Decoder) rejoin(pieces []*Node) *Node {
	devices, width := max(d.Devices, 1), pieces[0].Shape().Dim(1)
	if devices == 1 {
		return Concatenate(pieces, 0)
	}
	for i, p := range pieces {
		pieces[i] = Reshape(p, devices, -1, width)
	}
	return Reshape(Concatenate(pieces, 1), -1, width)
}
