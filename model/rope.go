package model

import (
	"math"
	"slices"
)

// Rope is a rotary embedding: the angle of pair i at a position is position·Inverse[i].
// Source: Su et al., 2021.
type Rope struct {
	Inverse []float32 `json:"inverse"`          // [P]; dimensions of a head beyond the 2·P first are not rotated
	Long    []float32 `json:"long,omitempty"`   // [P]; in the place of Inverse in rows of more than Border tokens
	Border  int       `json:"border,omitempty"` // 0: there is no Long
	Scale   float64   `json:"scale"`            // factor on sines and cosines
}

// PlainRope is the unscaled embedding of so many dimensions: Inverse[i] = base^(-2i/D).
func PlainRope(dims int, base float64) Rope {
	r := Rope{Inverse: make([]float32, dims/2), Scale: 1}
	for i := range r.Inverse {
		r.Inverse[i] = float32(1 / float64(frequency(dims, base, i)))
	}
	return r
}

// frequency is base^(2i/D), rounded as in a float32 computation.
func frequency(dims int, base float64, i int) float32 {
	return float32(math.Pow(base, float64(float32(2*i)/float32(dims))))
}

// ropeShape is what a scaled embedding is computed from, besides its own fields.
type ropeShape struct {
	dims     int // of a head that are rotated
	base     float64
	context  int // positions that the checkpoint states
	original int // positions of the pretraining, before scaling
}

// ropeKinds holds the scaled embeddings: each reads its fields from p.
var ropeKinds = map[string]func(p *config, s ropeShape) Rope{
	"default":  func(_ *config, s ropeShape) Rope { return PlainRope(s.dims, s.base) },
	"linear":   linearRope,
	"llama3":   llama3Rope,
	"yarn":     yarnRope,
	"longrope": longRope,
}

// linearRope divides all positions by factor. Source: Chen et al., 2023.
func linearRope(p *config, s ropeShape) Rope {
	r, factor := PlainRope(s.dims, s.base), float32(p.positive("factor", 0))
	for i := range r.Inverse {
		r.Inverse[i] /= factor
	}
	return r
}

// llama3Rope divides the slow frequencies by factor, keeps the fast ones, and blends
// between them. Source: Llama 3.1's model card and transformers' llama3 rope type.
func llama3Rope(p *config, s ropeShape) Rope {
	factor, low, high := p.positive("factor", 0), p.positive("low_freq_factor", 0), p.positive("high_freq_factor", 0)
	if !(high > low) {
		p.problem("high_freq_factor", "is %v: more than low_freq_factor %v is needed", high, low)
		return Rope{}
	}
	r := PlainRope(s.dims, s.base)
	for i, inverse := range r.Inverse {
		turns := float64(s.original) * float64(inverse) / (2 * math.Pi) // within the original context
		kept := min(max((turns-low)/(high-low), 0), 1)
		r.Inverse[i] = float32((1-kept)*float64(inverse)/factor + kept*float64(inverse))
	}
	return r
}

// yarnRope interpolates the dimensions that turn less than beta_slow times within the
// original context, keeps those that turn more than beta_fast times, ramps between them,
// and scales the attention. Source: Peng et al., 2023.
func yarnRope(p *config, s ropeShape) Rope {
	factor, fast, slow := p.positive("factor", 0), p.positive("beta_fast", 32), p.positive("beta_slow", 1)
	if !(s.base > 1) {
		p.problem("rope_theta", "is %v: more than 1 is needed", s.base)
		return Rope{}
	}
	turning := func(turns float64) float64 { // the dimension that turns so often
		return float64(s.dims) * math.Log(float64(s.original)/(turns*2*math.Pi)) / (2 * math.Log(s.base))
	}
	low, high := turning(fast), turning(slow)
	if p.flag("truncate", true) {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, float64(s.dims-1))
	if low == high {
		high += 0.001
	}
	r := PlainRope(s.dims, s.base)
	r.Scale = yarnScale(p, factor)
	for i, inverse := range r.Inverse {
		interpolated := min(max((float64(i)-low)/(high-low), 0), 1)
		r.Inverse[i] = float32(float64(inverse)/factor*interpolated + float64(inverse)*(1-interpolated))
	}
	return r
}

// yarnScale is attention_factor, or what the paper advises.
func yarnScale(p *config, factor float64) float64 {
	advised := func(m float64) float64 { return 0.1*m*math.Log(max(factor, 1)) + 1 }
	scale, over := p.limit("mscale", 0), p.limit("mscale_all_dim", 0)
	if scale > 0 && over > 0 {
		return p.positive("attention_factor", advised(scale)/advised(over))
	}
	return p.positive("attention_factor", advised(1))
}

// longRope divides each frequency by a factor of its own, of which long rows have other
// ones. Source: Ding et al., 2024.
func longRope(p *config, s ropeShape) Rope {
	short, long := p.numbers("short_factor", s.dims/2), p.numbers("long_factor", s.dims/2)
	factor := p.positive("factor", float64(s.context)/float64(s.original))
	advised := 1.0
	if factor > 1 {
		advised = math.Sqrt(1 + math.Log(factor)/math.Log(max(float64(s.original), 2)))
	}
	r := Rope{Border: s.original, Scale: p.positive("attention_factor", advised)}
	for i := range min(len(short), len(long)) {
		f := float64(frequency(s.dims, s.base, i))
		r.Inverse = append(r.Inverse, float32(1/(short[i]*f)))
		r.Long = append(r.Long, float32(1/(long[i]*f)))
	}
	return r
}

// plainKinds are the kinds that families without one of their own may use.
var plainKinds = []string{"default", "linear", "llama3", "yarn"}

// rope reads the embedding of a family that has one: from rope_theta and rope_scaling,
// or from the rope_parameters that transformers 5 writes.
func (c *config) rope(d Description, kinds ...string) Rope {
	p := c.ropeFields()
	c.only("partial_rotary_factor", 1)
	p.only("partial_rotary_factor", 1)
	s := ropeShape{dims: d.HeadDim, context: d.Context, original: c.original(p, d.Context)}
	s.base = p.positive("rope_theta", c.positive("rope_theta", 10000))
	return p.ropeOf(s, p.kind(), kinds)
}

// ropeFields opens the object that describes the embedding, by its new or old name.
func (c *config) ropeFields() *config {
	if c.has("rope_parameters") && c.has("rope_scaling") {
		c.problem("rope_scaling", "stands beside rope_parameters: keep one of them")
	}
	if c.has("rope_scaling") {
		return c.object("rope_scaling")
	}
	return c.object("rope_parameters")
}

// kind reads rope_type, or type, its old name.
func (c *config) kind() string { return c.text("rope_type", c.text("type", "default")) }

// original reads the positions of the pretraining, which some checkpoints state beside
// the embedding's fields and some among them.
func (c *config) original(p *config, standard int) int {
	inner := p.size("original_max_position_embeddings", standard)
	outer := c.size("original_max_position_embeddings", inner)
	if p.has("original_max_position_embeddings") && inner != outer {
		p.problem("original_max_position_embeddings", "is %d beside %d outside of it: make them equal", inner, outer)
	}
	return outer
}

// ropeOf computes the embedding that the fields of c ask for.
func (c *config) ropeOf(s ropeShape, kind string, kinds []string) Rope {
	if !slices.Contains(kinds, kind) {
		c.problem("rope_type", "is %.40q: not supported here, use %v", kind, kinds)
		return Rope{}
	}
	r := ropeKinds[kind](c, s)
	c.leftovers(nil)
	for _, v := range slices.Concat(r.Inverse, r.Long) {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) || f < 0 {
			c.problem("rope_theta", "and its scaling lead to the frequency %v", v)
			break
		}
	}
	return r
}
