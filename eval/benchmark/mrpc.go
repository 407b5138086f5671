package benchmark

// mrpc is GLUE's Microsoft Research Paraphrase Corpus (Dolan & Brockett, 2005): do
// two sentences say the same? Its test labels are in the corpus' own file, and in the
// Parquet of the hub; GLUE's test.tsv has none.
func mrpc() Benchmark {
	b := New("mrpc", Label, []string{"equivalent", "not equivalent"})
	b.files = files([]string{"train.tsv", "train-*.parquet"}, []string{"dev.tsv", "validation-*.parquet"}, []string{"msr_paraphrase_test.txt", "test-*.parquet"})
	b.hub = glueHub
	b.decode = glue(map[string]Answer{"0": "not equivalent", "1": "equivalent"}, func(f fields) (string, error) {
		first, second := "sentence1", "sentence2"
		if f.has("#1 String") {
			first, second = "#1 String", "#2 String"
		}
		return pair("Tell me if the statements equivalent, not equivalent.", first, second, f)
	})
	return b
}
