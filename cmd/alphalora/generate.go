package main

import (
	"bufio"
	"encoding/json"
	"fmt"
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
		Short: "continue prompts, greedily",
		Long: `generate continues each prompt with the likeliest tokens until an end token or the
limit. --prompts reads one JSON object {"prompt": "..."} or one JSON string a line.`,
		Args:    cobra.NoArgs,
		Example: `  alphalora generate --model models/mistral-7b --prompt "Once upon a time" --max-new-tokens 40`,
	}
	s := addSubject(cmd, "adapter-top-k")
	jsonPath := addJSON(cmd)
	f := cmd.Flags()
	prompt := f.String("prompt", "", "one prompt")
	prompts := f.String("prompts", "", "JSONL `FILE` of prompts")
	ids := f.String("ids", "", "JSON `FILE` with a list of token-id lists")
	limit := f.Int("max-new-tokens", 128, "most tokens of one output")
	stop := f.StringArray("stop", nil, "cut the output at this `TEXT` (may be given several times)")
	cmd.MarkFlagsMutuallyExclusive("prompt", "prompts", "ids")
	cmd.MarkFlagsOneRequired("prompt", "prompts", "ids")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := a.load(cmd.Context(), s)
		if err != nil {
			return err
		}
		defer l.close()
		encoded, err := l.prompts(*prompt, *prompts, *ids)
		if err != nil {
			return err
		}
		ends, err := l.ends(*ids != "")
		if err != nil {
			return err
		}
		bar := a.progress(len(encoded), "generate")
		outputs, err := l.generator.Greedy(cmd.Context(), encoded, *limit, ends, func(done int) { bar.Add(done-bar.done, "") })
		if err != nil {
			return err
		}
		bar.Done()
		result := generated{}
		for _, o := range outputs {
			out, err := l.decode(o, *stop)
			if err != nil {
				return err
			}
			result.Outputs = append(result.Outputs, out)
		}
		for _, o := range result.Outputs {
			_, _ = fmt.Fprintln(a.text(*jsonPath), o.Text)
		}
		return a.writeJSON(*jsonPath, result)
	}
	return cmd
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

// ends lists the end tokens. Token-id prompts work without a tokenizer, and then end at
// the limit only.
func (l *loaded) ends(ids bool) ([]int32, error) {
	t, err := l.text()
	if err != nil {
		if ids {
			return nil, nil
		}
		return nil, err
	}
	return t.EOSList(), nil
}

// decode turns an output into text and cuts it at the first stop text.
func (l *loaded) decode(o generate.Output, stops []string) (generatedOutput, error) {
	g := generatedOutput{IDs: o.IDs, Finish: o.Finish}
	if g.IDs == nil {
		g.IDs = []int32{}
	}
	if l.tokenizer == nil {
		return g, nil
	}
	var err error
	if g.Text, err = l.tokenizer.Decode(o.IDs, true); err != nil {
		return g, err
	}
	if cut, found := generate.CutAtStop(g.Text, stops); found {
		g.Text, g.Finish = cut, generate.Stopped
	}
	return g, nil
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
