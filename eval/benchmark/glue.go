package benchmark

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// glueHub is the dataset that holds the GLUE tasks as Parquet, a folder each.
const glueHub = "nyu-mll/glue"

// glue decodes a record of a GLUE task: ready-made records as they are, others with the
// prompt that ask builds. codes are the label's values in the official files.
func glue(codes map[string]Answer, ask func(f fields) (string, error)) decoder {
	return func(b Benchmark, f fields) (problem, error) {
		if f.has("instruction") {
			return instruction(b, f)
		}
		code, err := f.firstScalar("label", "Quality")
		if err != nil {
			return problem{}, err
		}
		gold, ok := codes[code]
		switch {
		case code == "" || code == "-1":
			return problem{}, errors.New("it has no label: GLUE publishes none of its test splits of CoLA and RTE")
		case !ok:
			return problem{}, fmt.Errorf("its label %q is none of %s", clip(code), strings.Join(slices.Sorted(maps.Keys(codes)), ", "))
		}
		id, err := f.firstScalar("idx", "index")
		if err != nil {
			return problem{}, err
		}
		text, err := ask(f)
		return problem{id: id, instruction: text, gold: gold, choices: b.Labels}, err
	}
}

// pair asks about two sentences, in the fields first and second.
func pair(question, first, second string, f fields) (string, error) {
	text, err := f.texts(first, second)
	if err != nil {
		return "", err
	}
	return question + "\nSentence 1: " + text[0] + "\nSentence 2: " + text[1] + "\n", nil
}
