package train

import (
	"alphalora/model"
	"alphalora/moelora"
)

// Flops counts the arithmetic of a training step's matrix products, two operations a
// multiply-add: the least that a step of rows·length tokens must compute with the base
// frozen and nothing computed twice.
//
//	base       forward, and the gradient of every input that an adapter stands behind
//	adapter    forward, the gradients of its inputs and of its weights
//	attention  scores and mixtures over whole rows, forward and four products backward
func Flops(d model.Description, s moelora.Shape, rows, length int) float64 {
	tokens := float64(rows * length)
	perToken := 2 * float64(d.Vocabulary*d.Hidden) // the head, forward and its input
	for layer := range d.Layers {
		for _, site := range model.Sites() {
			in, out := d.SiteDims(site)
			passes := 2.0
			if layer == 0 && site <= model.V { // what they read has no gradient
				passes = 1
			}
			perToken += passes * float64(in*out)
		}
		perToken += 3 * 2 * float64(length*d.Heads*d.HeadDim)
	}
	for _, row := range moelora.Count(d, s).Sites {
		site, _ := model.ParseSite(row.Site)
		perToken += 3 * float64(row.Trainable)
		if row.Layer == 0 && site <= model.V {
			in, _ := d.SiteDims(site)
			perToken -= float64(row.Experts * s.Rank * in)
		}
	}
	return 2 * tokens * perToken
}
