package moelora_test

import (
	"testing"

	"alphalora/model"
	"alphalora/model/quant"
	"alphalora/moelora"

	"github.com/stretchr/testify/require"
)

// TestKindsOverAQuantisedBase is what every kind keeps where the base is in few bits.
func TestKindsOverAQuantisedBase(t *testing.T) {
	for _, stored := range []quant.Kind{quant.Int8, quant.FourBit} {
		m, err := model.NewRandomQuantised(open(t), description, "float32", 9, stored)
		require.NoError(t, err)
		m.Dir = base(t).Dir // whose weights it has
		r := runner{base: m, ids: [][]int32{{3, 14, 15, 9, 2}, {6, 5, 3, 5, 8}}}
		plain := r.logits(t, nil)
		for _, k := range moelora.Kinds() {
			t.Run(stored.String()+" "+k.Name, func(t *testing.T) {
				a, err := moelora.New(m, shapeOf(k), 7)
				require.NoError(t, err)
				require.LessOrEqual(t, furthest(plain, r.logits(t, a)), 1e-6, "a fresh adapter changes nothing")
				scramble(a, 3)
				require.Greater(t, furthest(plain, r.logits(t, a)), 1e-2, "a trained one does")
				requireFiniteDifferences(t, r, a)
				requireRoundTrip(t, r, a)
			})
		}
	}
}
