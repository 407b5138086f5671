package benchmark

// rte is GLUE's Recognizing Textual Entailment (RTE 1, 2, 3 and 5): does the first
// text imply the second?
func rte() Benchmark {
	return New("rte", Label, []string{"entailment", "not entailment"})
}
