package benchmark

// commonsenseqa is CommonsenseQA (Talmor et al., 2019): five options. Its test answers
// are hidden, so validation is evaluated.
func commonsenseqa() Benchmark {
	b := New("commonsenseqa", Choice, nil)
	validation := []string{"dev_rand_split.jsonl", "data/validation-*.parquet", "validation-*.parquet"}
	b.files = files([]string{"train_rand_split.jsonl", "data/train-*.parquet", "train-*.parquet"}, validation, validation)
	b.hub = "tau/commonsense_qa"
	b.decode = question("answerKey", stemField("question"))
	return b
}

// stemField builds a question from the one field that holds it, or from the member
// "stem" of a question that is an object, as the JSONL of the authors has it.
func stemField(key string) func(f fields) (string, error) {
	return func(f fields) (string, error) {
		field := key
		if f.has("stem") {
			field = "stem"
		}
		text, err := f.text(field)
		return "Question: " + text + "\n", err
	}
}
