package benchmark

// rte is GLUE's Recognizing Textual Entailment (RTE 1, 2, 3 and 5): does the first
// text imply the second? GLUE hides its test labels, so validation is evaluated.
func rte() Benchmark {
	b := New("rte", Label, []string{"entailment", "not entailment"})
	b.files = files([]string{"train.tsv", "train-*.parquet"}, []string{"dev.tsv", "validation-*.parquet"}, []string{"dev.tsv", "validation-*.parquet"})
	b.hub = glueHub
	codes := map[string]Answer{"0": "entailment", "1": "not entailment", "entailment": "entailment", "not_entailment": "not entailment"}
	b.decode = glue(codes, func(f fields) (string, error) {
		return pair("Tell me if the statements entailment, not entailment.", "sentence1", "sentence2", f)
	})
	return b
}
