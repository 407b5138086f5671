package alphalora

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"alphalora/internal/fault"

	"github.com/stretchr/testify/require"
)

func allocated(t *testing.T, r Request) Allocation {
	t.Helper()
	a, err := Allocate(r)
	require.NoError(t, err, "%+v", r)
	return a
}

func randomValues(layers int, seed uint64) []float64 {
	rng := rand.New(rand.NewPCG(seed, 1))
	values := make([]float64, layers)
	for i := range values {
		values[i] = 2 + 4*rng.Float64()
		if i > 0 && rng.IntN(4) == 0 {
			values[i] = values[i-1]
		}
	}
	return values
}

// The conformance suite of every strategy with every rounding: the counts add up, are
// the same each time, at least one in each layer where the rounding says so (else the
// layers without are listed), never fewer for a larger value, and top-k within them.
func TestEveryStrategy(t *testing.T) {
	names := map[string][]string{molaName: {"mola-2468", "mola-8642", "mola-5555", "mola-3-5-7-8", "mola-1-12"}}
	checked := 0
	for _, s := range Strategies() {
		for _, name := range append(names[s.Name], s.Name)[:max(1, len(names[s.Name]))] {
			for _, rounding := range Roundings() {
				for seed := range uint64(20) {
					for _, layers := range []int{4, 7, 32, 40} {
						checkStrategy(t, s, name, rounding, layers, seed)
						checked++
					}
				}
			}
		}
	}
	require.Equal(t, 8*2*20*4, checked)
}

func checkStrategy(t *testing.T, s Strategy, name string, rounding Rounding, layers int, seed uint64) {
	r := Request{
		Strategy: name, Layers: layers, Rounding: rounding.Name, Total: layers + int(seed)*7,
		Values: randomValues(layers, seed), Beta: float64(seed) / 4,
	}
	if name == "manual" {
		r.PerLayer = make([]int, layers)
		r.PerLayer[0], r.PerLayer[layers-1] = r.Total-1, 1
	}
	values := slices.Clone(r.Values)
	a := allocated(t, r)
	require.Equal(t, a, allocated(t, r))
	require.Equal(t, values, r.Values, "the request is not changed")
	require.Equal(t, r.Total, a.Total)
	require.Len(t, a.Experts, layers)
	sum := 0
	for layer, n := range a.Experts {
		sum += n
		require.Equal(t, n <= 0, slices.Contains(a.WithoutExperts, layer))
		require.Equal(t, max(0, min(2, n)), a.TopK[layer])
	}
	require.Equal(t, r.Total, sum)
	if name != "manual" && rounding.FloorOfOne {
		require.Empty(t, a.WithoutExperts)
	}
	if s.UsesValues && r.Beta > 0 && rounding.FloorOfOne {
		for i, v := range r.Values {
			for j, u := range r.Values {
				if v > u {
					require.GreaterOrEqual(t, a.Experts[i], a.Experts[j])
				}
			}
		}
	}
	require.Equal(t, s.UsesBeta, a.Beta != nil)
}

func TestLargestRemainder(t *testing.T) {
	for _, c := range []struct {
		weights []float64
		total   int
		want    []int
	}{
		{[]float64{1, 1, 1}, 3, []int{1, 1, 1}},
		{[]float64{1, 1, 1}, 5, []int{2, 2, 1}},
		{[]float64{2, 3, 5}, 20, []int{4, 6, 10}},
		{[]float64{1, 100, 100}, 7, []int{1, 3, 3}},
		{[]float64{0, 1e-300, 1}, 9, []int{1, 1, 7}},
		{[]float64{1.4, 3.3, 5.3}, 10, []int{2, 3, 5}},
	} {
		require.Equal(t, c.want, largestRemainder(c.weights, c.total))
	}
}

func TestMoLAPatterns(t *testing.T) {
	for _, c := range []struct {
		name   string
		layers int
		total  int
		want   []int
	}{
		{"mola-2468", 8, 0, []int{2, 2, 4, 4, 6, 6, 8, 8}},
		{"mola-8642", 4, 0, []int{8, 6, 4, 2}},
		{"mola-3-5-7-8", 4, 0, []int{3, 5, 7, 8}},
		{"mola-2-10", 5, 0, []int{2, 2, 2, 10, 10}},
		{"mola-2468", 6, 0, []int{2, 2, 4, 6, 6, 8}},
		{"mola-2468", 8, 20, []int{1, 1, 2, 2, 3, 3, 4, 4}},
		{"mola-2468", 8, 40, []int{2, 2, 4, 4, 6, 6, 8, 8}},
		{"mola-5", 3, 0, []int{5, 5, 5}},
	} {
		require.Equal(t, c.want, allocated(t, Request{Strategy: c.name, Layers: c.layers, Total: c.total}).Experts, c.name)
	}
	require.Equal(t, 160, allocated(t, Request{Strategy: "mola-2468", Layers: 32}).Total)
}

func TestReleasedRoundingSaysWhenNothingCanBeTrained(t *testing.T) {
	require.NoError(t, Allocation{Experts: []int{0, 3}}.Trainable())
	err := Allocation{Experts: []int{4, -2}}.Trainable()
	require.ErrorContains(t, err, "layer 1 has -2 experts")
}

// The binary expansion of the exponent against exact cases and the library.
func TestPower(t *testing.T) {
	require.Equal(t, 1.0, power(3.3, 0))
	require.Equal(t, 3.3, power(3.3, 1))
	require.Equal(t, 32.0, power(4, 2.5))
	require.True(t, math.IsInf(power(4, 1e6), 1))
	rng := rand.New(rand.NewPCG(3, 3))
	for range 300 {
		x, y := 10*rng.Float64()+0.01, 12*rng.Float64()
		require.InEpsilon(t, math.Pow(x, y), power(x, y), 1e-14)
	}
}

func TestBadRequests(t *testing.T) {
	good := Request{Strategy: "alphalora", Layers: 3, Values: []float64{2, 3, 4}, Total: 9, Beta: 2.5}
	allocated(t, good)
	for reason, change := range map[string]func(r *Request){
		"uniform, mola-PATTERN":    func(r *Request) { r.Strategy = "mola" },
		"unknown strategy":         func(r *Request) { r.Strategy = "luck" },
		"unknown rounding":         func(r *Request) { r.Rounding = "up" },
		"give at least 3":          func(r *Request) { r.Total = 2 },
		"needs a total":            func(r *Request) { r.Total = 0 },
		"must be from 1":           func(r *Request) { r.Total = -1 },
		"1000000":                  func(r *Request) { r.Total = MaxExperts + 1 },
		"beta -1":                  func(r *Request) { r.Beta = -1 },
		"beta NaN":                 func(r *Request) { r.Beta = math.NaN() },
		"beta +Inf":                func(r *Request) { r.Beta = math.Inf(1) },
		"too large":                func(r *Request) { r.Beta = 1e6 },
		"2 entries for 3":          func(r *Request) { r.Values = r.Values[:2] },
		"value of layer 1":         func(r *Request) { r.Values = []float64{1, math.NaN(), 2} },
		"finite and above 0":       func(r *Request) { r.Values = []float64{1, 2, 0} },
		"+Inf; a layer's":          func(r *Request) { r.Values = []float64{math.Inf(1), 2, 1} },
		"at least one layer":       func(r *Request) { r.Layers = 0 },
		`"x" is no number`:         func(r *Request) { r.Strategy = "mola-2x" },
		`"0" is no number`:         func(r *Request) { r.Strategy = "mola-20" },
		`no numbers`:               func(r *Request) { r.Strategy = "mola-" },
		`"" is no number`:          func(r *Request) { r.Strategy = "mola-2--3" },
		"4 groups for 3 layers":    func(r *Request) { r.Strategy = "mola-2468" },
		"uniform needs a total":    func(r *Request) { r.Strategy, r.Total = "uniform", 0 },
		"0 entries for 3 layers":   func(r *Request) { r.Strategy = "manual" },
		"adds up to 6":             func(r *Request) { r.Strategy, r.PerLayer = "manual", []int{1, 2, 3} },
		"experts of layer 1: -2":   func(r *Request) { r.Strategy, r.PerLayer = "manual", []int{1, -2, 3} },
		"no layer has an expert":   func(r *Request) { r.Strategy, r.PerLayer = "manual", []int{0, 0, 0} },
		"counts must be 0 or more": func(r *Request) { r.Strategy, r.PerLayer = "manual", []int{1, MaxExperts, 3} },
	} {
		r := good
		change(&r)
		_, err := Allocate(r)
		require.ErrorContains(t, err, reason)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	}
	_, err := TrainableParameters([]int{1, 2}, [][]Shape{{}}, 8)
	require.ErrorContains(t, err, "2 layers")
	_, err = PublishedNamed("gpt-9")
	require.ErrorContains(t, err, "llama-2-7b, mistral-7b")
}

func ExampleAllocate() {
	a, err := Allocate(Request{Strategy: "alphalora", Layers: 4, Values: []float64{2.1, 3, 3.6, 4.2}, Total: 20, Beta: 2.5})
	if err != nil {
		panic(err)
	}
	fmt.Println(a.Experts, a.TopK)
	// Output: [1 4 6 9] [1 2 2 2]
}
