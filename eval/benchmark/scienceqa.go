package benchmark

// scienceqa is ScienceQA (Lu et al., 2022), the questions without a picture. The
// hint is the context, "N/A" where it is empty.
func scienceqa() Benchmark {
	b := New("scienceqa", Choice, nil)
	b.decode = question("answer", func(f fields) (string, error) {
		text, err := f.texts("hint", "question")
		if err != nil {
			return "", err
		}
		if text[0] == "" {
			text[0] = "N/A"
		}
		return "Context: " + text[0] + "\nQuestion: " + text[1] + "\n", nil
	})
	return b
}
