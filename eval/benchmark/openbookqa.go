package benchmark

// openbookqa is OpenBookQA (Mihaylov et al., 2018), without the book: four options.
func openbookqa() Benchmark {
	b := New("openbookqa", Choice, nil)
	b.decode = question("answerKey", stemField("question_stem"))
	return b
}
