package moelora

import (
	"math"

	"alphalora/model"
)

// Tally is what a [Census] sums over the N counted tokens of one routed projection.
type Tally struct {
	Layer, TopK int
	Site        model.Site
	Tokens      int       // N
	Chosen      []float64 // [E] tokens that chose each expert
	Weight      []float64 // [E] the sum of each expert's softmax weight p
	First       []float64 // [E] tokens whose first choice each expert is
	Gate        float64   // the sum of the first choice's gate
	Entropy     float64   // the sum of the entropies of p, in nats
	Pairs       []float64 // [E·E] tokens that chose both experts; nil where there are too many

	// Tokens whose set of chosen experts is another one than with the first adapter of the
	// census, and than with the one before.
	ChangedFirst, ChangedPrevious float64
}

// Usage is how the tokens of a text were shared among the experts of one projection. For
// a token with softmax weights p over E experts, of which it chose the set T of the k
// largest, the gate of expert e in T is g_e = p_e / Σ_T p.
type Usage struct {
	Layer   int    `json:"layer"`
	Site    string `json:"site"`
	Experts int    `json:"experts"` // E
	TopK    int    `json:"top_k"`   // k

	Load   []float64 `json:"load"`   // f_e = |{tokens with e in T}| / (k·N); Σ f = 1
	Weight []float64 `json:"weight"` // the mean of p_e; Σ = 1
	First  []float64 `json:"first"`  // the share of tokens whose largest p is p_e; Σ = 1

	LoadEntropy  float64 `json:"load_entropy"`  // −Σ f ln f / ln E, from ln k / ln E to 1
	TokenEntropy float64 `json:"token_entropy"` // the mean of −Σ p ln p / ln E, from 0 to 1

	Top1Expert int     `json:"top1_expert"` // the most frequent first choice, the first of equals
	Top1Share  float64 `json:"top1_share"`  // the share of tokens whose first choice it is
	FirstGate  float64 `json:"first_gate"`  // the mean gate of a token's first choice, from 1/k to 1

	Dead []int `json:"dead"` // the experts with f_e = 0 or f_e below the threshold of an even share 1/E

	// Pairs[i][j] is the share of tokens that chose both i and j, on the diagonal of those
	// that chose i. None where k is 1 or E above [MaxPaired].
	Pairs [][]float64 `json:"pairs,omitempty"`
}

// Usage turns sums into shares. An expert counts as dead when its load is 0 or below the
// share deadBelow of an even load 1/E.
func (t *Tally) Usage(deadBelow float64) Usage {
	e, n := len(t.Chosen), float64(t.Tokens)
	u := Usage{Layer: t.Layer, Site: t.Site.String(), Experts: e, TopK: t.TopK,
		Load: t.load(), Weight: scaled(t.Weight, 1/n), First: scaled(t.First, 1/n),
		TokenEntropy: t.Entropy / n / math.Log(float64(e)), FirstGate: t.Gate / n, Dead: []int{}}
	for i, f := range u.Load {
		if f > 0 {
			u.LoadEntropy -= f * math.Log(f) / math.Log(float64(e))
		}
		if f == 0 || f < deadBelow/float64(e) {
			u.Dead = append(u.Dead, i)
		}
		if t.First[i] > t.First[u.Top1Expert] {
			u.Top1Expert = i
		}
	}
	u.Top1Share = u.First[u.Top1Expert]
	if t.TopK > 1 {
		for at := 0; at < len(t.Pairs); at += e {
			u.Pairs = append(u.Pairs, scaled(t.Pairs[at:at+e], 1/n))
		}
	}
	return u
}

func (t *Tally) load() []float64 {
	return scaled(t.Chosen, 1/(float64(t.Tokens)*float64(t.TopK)))
}

func scaled(values []float64, by float64) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = v * by
	}
	return out
}

// Drift is how far the routing of one projection moved from an earlier adapter to a later
// one, over the same tokens; without a Site, the mean over the projections of a layer.
type Drift struct {
	Layer int    `json:"layer"`
	Site  string `json:"site,omitempty"`

	// The total variation distance ½ Σ |f_e − f'_e| of the loads, from 0 to 1.
	LoadFirst    float64 `json:"load_first"`
	LoadPrevious float64 `json:"load_previous"`

	// The share of tokens whose set T is another one.
	ChosenFirst    float64 `json:"chosen_first"`
	ChosenPrevious float64 `json:"chosen_previous"`
}

// Drift compares with the tallies of the same projection under the first adapter of the
// census and under the one before.
func (t *Tally) Drift(first, previous *Tally) Drift {
	n := float64(t.Tokens)
	return Drift{Layer: t.Layer, Site: t.Site.String(),
		LoadFirst: totalVariation(t.load(), first.load()), LoadPrevious: totalVariation(t.load(), previous.load()),
		ChosenFirst: t.ChangedFirst / n, ChosenPrevious: t.ChangedPrevious / n}
}

func totalVariation(a, b []float64) float64 {
	sum := 0.0
	for i := range a {
		sum += math.Abs(a[i] - b[i])
	}
	return sum / 2
}

// LayerDrift is the mean over the projections of each layer; they stand in layer order.
func LayerDrift(list []Drift) []Drift {
	var layers []Drift
	byLayer(list, func(d Drift) int { return d.Layer }, func(part []Drift) {
		mean := MeanDrift(part)
		mean.Layer = part[0].Layer
		layers = append(layers, mean)
	})
	return layers
}

// MeanDrift is the mean over a list; it names neither layer nor projection.
func MeanDrift(list []Drift) (mean Drift) {
	for _, d := range list {
		n := float64(len(list))
		mean.LoadFirst += d.LoadFirst / n
		mean.LoadPrevious += d.LoadPrevious / n
		mean.ChosenFirst += d.ChosenFirst / n
		mean.ChosenPrevious += d.ChosenPrevious / n
	}
	return mean
}

// LayerUsage is the mean of [Usage] over the routed projections of a layer.
type LayerUsage struct {
	Layer        int     `json:"layer"`
	Experts      int     `json:"experts"`
	TopK         int     `json:"top_k"`
	Projections  int     `json:"projections"` // those that are routed
	LoadEntropy  float64 `json:"load_entropy"`
	TokenEntropy float64 `json:"token_entropy"`
	Top1Share    float64 `json:"top1_share"`
	FirstGate    float64 `json:"first_gate"`
	Dead         int     `json:"dead"` // of Experts·Projections
}

// LayerUsages sums up the projections of each layer; they stand in layer order.
func LayerUsages(list []Usage) []LayerUsage {
	var layers []LayerUsage
	byLayer(list, func(u Usage) int { return u.Layer }, func(part []Usage) {
		l := LayerUsage{Layer: part[0].Layer, Experts: part[0].Experts, TopK: part[0].TopK, Projections: len(part)}
		for _, u := range part {
			n := float64(len(part))
			l.LoadEntropy += u.LoadEntropy / n
			l.TokenEntropy += u.TokenEntropy / n
			l.Top1Share += u.Top1Share / n
			l.FirstGate += u.FirstGate / n
			l.Dead += len(u.Dead)
		}
		layers = append(layers, l)
	})
	return layers
}

// byLayer calls do with each run of one layer.
func byLayer[T any](list []T, layer func(T) int, do func(part []T)) {
	for from := 0; from < len(list); {
		to := from + 1
		for to < len(list) && layer(list[to]) == layer(list[from]) {
			to++
		}
		do(list[from:to])
		from = to
	}
}
