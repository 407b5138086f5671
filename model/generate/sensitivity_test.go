package generate_test

import (
	"math"
	"testing"

	"alphalora/model"

	"github.com/stretchr/testify/require"
)

// ablations takes one piece of arithmetic out of a description; false where it has none.
var ablations = map[string]func(d *model.Description) bool{
	"norm offset":     func(d *model.Description) bool { d.NormOffset = 1 - d.NormOffset; return true },
	"norm epsilon":    func(d *model.Description) bool { d.NormEps *= 1000; return true },
	"q/k norms":       func(d *model.Description) bool { return swap(&d.QKNorms, false) },
	"post-norms":      func(d *model.Description) bool { return swap(&d.PostNorms, false) },
	"embedding scale": func(d *model.Description) bool { return swap(&d.EmbedScale, 1) },
	"exact GELU": func(d *model.Description) bool {
		return d.Activation == model.GELU && swap(&d.Activation, model.GELUTanh)
	},
	"tanh GELU": func(d *model.Description) bool {
		return d.Activation == model.GELUTanh && swap(&d.Activation, model.GELU)
	},
	"biases": func(d *model.Description) bool { some := len(d.Biases) > 0; d.Biases = nil; return some },
	"output bias": func(d *model.Description) bool {
		some := len(d.Biases) > 3
		d.Biases = d.Biases[:min(3, len(d.Biases))]
		return some
	},
	"attention scale": func(d *model.Description) bool { return swap(&d.AttentionScale, 1/math.Sqrt(float64(d.HeadDim))) },
	"attention cap":   func(d *model.Description) bool { return swap(&d.AttentionCap, 0) },
	"logit cap":       func(d *model.Description) bool { return swap(&d.LogitCap, 0) },
	"windows": func(d *model.Description) bool {
		some := d.Windows != nil && d.LocalRope == nil
		d.Windows = nil
		return some
	},
	"window's length": func(d *model.Description) bool {
		d.Windows = append([]int(nil), d.Windows...)
		for i, w := range d.Windows {
			d.Windows[i] = w + min(w, 1)
		}
		return d.Windows != nil
	},
	"windows everywhere": func(d *model.Description) bool {
		some := false
		d.Windows = append([]int(nil), d.Windows...)
		for i, w := range d.Windows {
			some, d.Windows[i] = some || w == 0, 8
		}
		return some
	},
	"base":        func(d *model.Description) bool { d.Rope = model.PlainRope(2*len(d.Rope.Inverse), 12345); return true },
	"local base":  func(d *model.Description) bool { some := d.LocalRope != nil; d.LocalRope = nil; return some },
	"rope scale":  func(d *model.Description) bool { return swap(&d.Rope.Scale, 1) },
	"rope border": func(d *model.Description) bool { return swap(&d.Rope.Border, 0) },
}

func swap[T comparable](field *T, value T) bool {
	was := *field
	*field = value
	return was != value
}

// TestGoldensTell takes each piece of arithmetic away where a golden has it: the numbers
// must then be wrong by several times the tolerance, or they would not test it. Once for
// each family is enough.
func TestGoldensTell(t *testing.T) {
	told, families := map[string]int{}, map[string]bool{}
	for _, name := range cases(t) {
		g := openGolden(t, name, "float32")
		ids, want := g.ints(t, "long.input_ids"), g.floats(t, "long.logits")
		for piece, ablate := range ablations {
			d := g.model.Description
			if families[d.Family+piece] || !ablate(&d) {
				continue
			}
			told[piece], families[d.Family+piece] = told[piece]+1, true
			far := furthest(g.logits(t, d, ids, make([]int32, len(ids))), want, nil)
			require.Greater(t, far, 5*goldenTolerance, "%s without its %s", name, piece)
		}
	}
	for piece := range ablations {
		require.Positive(t, told[piece], "no golden tests the %s", piece)
	}
	t.Logf("%d pieces of arithmetic, told by so many families: %v", len(told), told)
}
