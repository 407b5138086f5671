package alphalora

// shareUniform weighs all layers alike. A total that the layers do not divide leaves
// the first layers one more (with the default rounding).
func shareUniform(r Request) (share, error) {
	if err := needTotal(r); err != nil {
		return share{}, err
	}
	weights := make([]float64, r.Layers)
	for i := range weights {
		weights[i] = 1
	}
	return share{weights: weights}, nil
}
