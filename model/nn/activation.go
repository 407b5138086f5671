package nn

import (
	"math"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// SiLU is x·sigmoid(x). Source: Elfwing et al., 2017.
func SiLU(x *Node) *Node { return Mul(x, Logistic(x)) }

// GELU is x·Φ(x), Φ the normal distribution. Source: Hendrycks and Gimpel, 2016.
func GELU(x *Node) *Node {
	return Mul(MulScalar(x, 0.5), OnePlus(Erf(MulScalar(x, math.Sqrt2/2))))
}

// GELUTanh is the tanh form of [GELU], from the same source.
func GELUTanh(x *Node) *Node {
	inner := MulScalar(Add(x, MulScalar(Mul(Square(x), x), 0.044715)), math.Sqrt(2/math.Pi))
	return Mul(MulScalar(x, 0.5), OnePlus(Tanh(inner)))
}
