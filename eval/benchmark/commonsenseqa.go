package benchmark

// commonsenseqa is CommonsenseQA (Talmor et al., 2019): five options.
func commonsenseqa() Benchmark {
	b := New("commonsenseqa", Choice, nil)
	b.decode = question("answerKey", stemField("question"))
	return b
}

// stemField builds a question from the one field that holds it.
func stemField(key string) func(f fields) (string, error) {
	return func(f fields) (string, error) {
		text, err := f.text(key)
		return "Question: " + text + "\n", err
	}
}
