package benchmark

// mrpc is GLUE's Microsoft Research Paraphrase Corpus (Dolan & Brockett, 2005): do
// two sentences say the same?
func mrpc() Benchmark {
	return New("mrpc", Label, []string{"equivalent", "not equivalent"})
}
