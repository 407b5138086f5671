package benchmark

// cola is GLUE's Corpus of Linguistic Acceptability (Warstadt et al., 2019): is a
// sentence good English? GLUE hides its test labels, so validation is evaluated.
func cola() Benchmark {
	b := New("cola", Label, []string{"acceptable", "unacceptable"})
	b.files = files([]string{"train.tsv", "train-*.parquet"}, []string{"dev.tsv", "validation-*.parquet"}, []string{"dev.tsv", "validation-*.parquet"})
	b.columns = []string{"source", "label", "original_mark", "sentence"}
	b.hub = glueHub
	b.decode = glue(map[string]Answer{"0": "unacceptable", "1": "acceptable"}, func(f fields) (string, error) {
		text, err := f.text("sentence")
		return "Tell me if the statement unacceptable, acceptable.\nSentence: " + text + "\n", err
	})
	return b
}
