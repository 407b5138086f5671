package benchmark

// multiarith is MultiArith (Roy & Roth, 2015), in the layout of MAWPS.
func multiarith() Benchmark {
	return Benchmark{
		Name:   "multiarith",
		Format: Number,
		files:  map[string][]string{"test": {"MultiArith.json", "test.json"}},
		decode: mawps,
	}
}
