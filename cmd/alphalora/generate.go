package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"alphalora/internal/fault"
	"alphalora/model/generate"
)

// generated is the JSON of the verb generate.
type generated struct {
	Outputs []generatedOutput `json:"outputs"`
}

type generatedOutput struct {
	IDs    []int32 `json:"ids"`
	Text   string  `json:"text"` // empty without a tokenizer
	Finish string  `json:"finish_reason"`
}

func generateCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "generate --model MODEL (--prompt TEXT | --prompts F.jsonl | --ids F.json)",
		Short: "continue prompts",
		Long: `generate continues each prompt until an end token, a stop text or the limit: with the
likeliest token each time, or, at a temperature above 0, with tokens drawn by their
probability. What is drawn depends on the seed and the prompt's place in the list, not on
the batch. --prompts reads one JSON object {"prompt": "..."} or one JSON string a line.`,
		Args:    cobra.NoArgs,
		Example: `  alphalora generate --model models/mistral-7b --prompt "Once upon a time" --max-new-tokens 40`,
	}
	sub := addSubject(cmd, "adapter-top-k")
	addDevices(cmd, sub)
	s := addSampling(cmd, 128, 0)
	jsonPath := addJSON(cmd)
	f := cmd.Flags()
	prompt := f.String("prompt", "", "one prompt")
	prompts := f.String("prompts", "", "JSONL `FILE` of prompts")
	ids := f.String("ids", "", "JSON `FILE` with a list of token-id lists")
	stream := f.Bool("stream", false, "print the text as it comes; for one prompt")
	cmd.MarkFlagsMutuallyExclusive("prompt", "prompts", "ids")
	cmd.MarkFlagsOneRequired("prompt", "prompts", "ids")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := s.check(); err != nil {
			return err
		}
		l, err := a.load(cmd.Context(), sub)
		if err != nil {
			return err
		}
		defer l.close()
		encoded, err := l.prompts(*prompt, *prompts, *ids)
		if err != nil {
			return err
		}
		bos, err := s.prepare(l, *ids != "")
		if err != nil {
			return err
		}
		if err := s.fit(a, encoded, l.Context, bos); err != nil {
			return err
		}
		run := a.continueAll
		if *stream {
			run = a.continueOne
		}
		outputs, err := run(cmd.Context(), l, encoded, s.options, a.text(*jsonPath))
		if err != nil {
			return err
		}
		return a.writeJSON(*jsonPath, resultOf(outputs))
	}
	return cmd
}

// continueAll prints the texts when all have come.
func (a *app) continueAll(ctx context.Context, l *loaded, prompts [][]int32, o generate.Options, w io.Writer) ([]generate.Output, error) {
	bar := a.progress(len(prompts), "generate")
	o.Progress = func(done int) { bar.Add(done-bar.done, "") }
	outputs, err := l.generator.Generate(ctx, prompts, o)
	if err != nil {
		return nil, err
	}
	bar.Done()
	for _, out := range outputs {
		if _, err := fmt.Fprintln(w, out.Text); err != nil {
			return nil, err
		}
	}
	return outputs, nil
}

// continueOne prints one text as it comes.
func (a *app) continueOne(ctx context.Context, l *loaded, prompts [][]int32, o generate.Options, w io.Writer) ([]generate.Output, error) {
	if len(prompts) != 1 {
		return nil, fault.Input("--stream", "give one prompt", "there are %d prompts, whose texts would mix", len(prompts))
	}
	o.Emit = func(_ int, piece string) error {
		_, err := io.WriteString(w, piece)
		return err
	}
	outputs, err := l.generator.Generate(ctx, prompts, o)
	_, _ = fmt.Fprintln(w)
	return outputs, err
}

func resultOf(outputs []generate.Output) generated {
	result := generated{Outputs: []generatedOutput{}}
	for _, o := range outputs {
		if o.IDs == nil {
			o.IDs = []int32{}
		}
		result.Outputs = append(result.Outputs, generatedOutput{IDs: o.IDs, Text: o.Text, Finish: o.Finish})
	}
	return result
}

// prompts encodes what the flags name.
func (l *loaded) prompts(prompt, file, ids string) ([][]int32, error) {
	if ids != "" {
		return readIDs(ids)
	}
	t, err := l.text()
	if err != nil {
		return nil, err
	}
	texts := []string{prompt}
	if file != "" {
		if texts, err = readPrompts(file); err != nil {
			return nil, err
		}
	}
	encoded := make([][]int32, len(texts))
	for i, text := range texts {
		if encoded[i], err = t.Encode(text, true); err != nil {
			return nil, err
		}
	}
	return encoded, nil
}

// readPrompts reads one prompt a line.
func readPrompts(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Input(path, "name a JSONL file of prompts", "cannot be read: %v", fault.Reason(err))
	}
	defer func() { _ = f.Close() }()
	var texts []string
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		var object struct{ Prompt *string }
		var text string
		switch {
		case json.Unmarshal([]byte(line), &text) == nil:
		case json.Unmarshal([]byte(line), &object) == nil && object.Prompt != nil:
			text = *object.Prompt
		default:
			return nil, fault.Input(fmt.Sprintf("%s:%d", path, n), `write {"prompt": "..."} or a JSON string`, "is not a prompt")
		}
		texts = append(texts, text)
	}
	if err := lines.Err(); err != nil {
		return nil, fault.Input(path, "keep each line below 16 MiB", "%v", err)
	}
	if len(texts) == 0 {
		return nil, fault.Input(path, "give at least one prompt", "holds no prompt")
	}
	return texts, nil
}
