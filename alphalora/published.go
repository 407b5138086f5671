package alphalora

// Published holds facts that were published about one model: PL_Alpha_Hill of each
// layer, and the shapes from which an adapter's size follows.
type Published struct {
	Name   string
	Origin string    // where the values were published
	Alpha  []float64 // PL_Alpha_Hill of each layer, to two decimals

	Hidden, KeyValue, Intermediate int // widths of the model
}

// PublishedModels is the table of all published values.
func PublishedModels() []Published {
	return []Published{
		{
			Name:   "llama-2-7b",
			Origin: "the AlphaLoRA release and HadiAskari/Expert_Allocation",
			Alpha: []float64{
				2.14, 2.74, 3.03, 3.12, 3.2, 3.15, 3.01, 3.04, 2.79, 2.85, 2.75, 2.72, 2.96, 2.97, 3.03, 3.15,
				3.45, 3.72, 4.02, 3.77, 4.37, 4.55, 4.32, 4.18, 4.25, 4.2, 3.74, 4.25, 4.22, 4.13, 4.42, 3.44,
			},
			Hidden: 4096, KeyValue: 4096, Intermediate: 11008,
		},
		{
			Name:   "mistral-7b",
			Origin: "the AlphaLoRA release and HadiAskari/Expert_Allocation (Mistral-7B-v0.1)",
			Alpha: []float64{
				2.14, 3.14, 3.73, 3.49, 3.7, 3.83, 3.53, 3.58, 3.08, 3.31, 2.96, 2.75, 2.85, 2.96, 3.17, 3.62,
				4.83, 3.52, 4.45, 4.34, 4.28, 4.26, 4.32, 4.23, 4.78, 4.45, 4.12, 4.72, 3.99, 4.26, 3.38, 2.99,
			},
			Hidden: 4096, KeyValue: 1024, Intermediate: 14336,
		},
	}
}

// PublishedNamed returns the published values of that name.
func PublishedNamed(name string) (Published, error) {
	return named("published model", name, PublishedModels(), func(p Published) string { return p.Name })
}

// Shapes returns the seven projections of every layer, in the order q, k, v, o,
// gate, up, down.
func (p Published) Shapes() [][]Shape {
	layer := []Shape{
		{p.Hidden, p.Hidden}, {p.Hidden, p.KeyValue}, {p.Hidden, p.KeyValue}, {p.Hidden, p.Hidden},
		{p.Hidden, p.Intermediate}, {p.Hidden, p.Intermediate}, {p.Intermediate, p.Hidden},
	}
	shapes := make([][]Shape, len(p.Alpha))
	for i := range shapes {
		shapes[i] = layer
	}
	return shapes
}
