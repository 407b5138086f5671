package alphalora

// Rounding turns the weights of layers (finite, at least 0, not all 0) into counts
// that add up to a total of at least one for each layer. To add one: a file with its
// function, a line in [Roundings].
type Rounding struct {
	Name string
	Doc  string // what it is, one line
	// FloorOfOne says that every layer gets at least one expert.
	FloorOfOne bool

	apportion func(weights []float64, total int) []int
}

// Roundings is the table of all roundings; the first is the default.
func Roundings() []Rounding {
	return []Rounding{
		{Name: "largest-remainder", Doc: "whole parts first, the rest to the largest fractions; at least one for each layer", FloorOfOne: true, apportion: largestRemainder},
		{Name: "released", Doc: "as the released code, bit for bit; a layer may get none", apportion: releasedRounding},
	}
}

// RoundingNamed returns the rounding of that name, the default for no name.
func RoundingNamed(name string) (Rounding, error) {
	if name == "" {
		return Roundings()[0], nil
	}
	return named("rounding", name, Roundings(), func(r Rounding) string { return r.Name })
}
