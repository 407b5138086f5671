package benchmark

// openbookqa is OpenBookQA (Mihaylov et al., 2018), without the book: four options.
func openbookqa() Benchmark {
	b := New("openbookqa", Choice, nil)
	official := func(jsonl, parquet string) []string {
		return []string{jsonl, "Data/Main/" + jsonl, "main/" + parquet, parquet}
	}
	b.files = files(official("train.jsonl", "train-*.parquet"), official("dev.jsonl", "validation-*.parquet"), official("test.jsonl", "test-*.parquet"))
	b.hub = "allenai/openbookqa"
	b.decode = question("answerKey", stemField("question_stem"))
	return b
}
