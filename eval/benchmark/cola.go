package benchmark

// cola is GLUE's Corpus of Linguistic Acceptability (Warstadt et al., 2019): is a
// sentence good English?
func cola() Benchmark {
	return New("cola", Label, []string{"acceptable", "unacceptable"})
}
