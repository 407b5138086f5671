package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"alphalora/eval"
	"alphalora/internal/fault"
	"alphalora/moelora"
)

// journal opens the samples in the making; nil where none are asked for.
func (a *app) journal(e *evaluating, l *loaded, list []question) (*eval.Journal, error) {
	if e.samples == "" {
		return nil, nil
	}
	run, err := e.run(l, list)
	if err != nil {
		return nil, err
	}
	j, err := eval.OpenJournal(e.samples+eval.PartialSuffix, run)
	if err == nil && j.Len() > 0 {
		a.say("going on with the %d answers of an earlier call in %s", j.Len(), e.samples+eval.PartialSuffix)
	}
	return j, err
}

// kept closes the journal of a run that failed, and says where its answers are.
func (a *app) kept(j *eval.Journal, samples string) error {
	if j == nil {
		return nil
	}
	a.say("answers so far are in %s: the same call goes on from there", samples+eval.PartialSuffix)
	return j.Close()
}

// run lists all that answers depend on, by name. The batch is not of it: answers do not
// depend on it, and after a lack of memory it is what has to change.
func (e *evaluating) run(l *loaded, list []question) (map[string]string, error) {
	model, err := l.Fingerprint()
	if err != nil {
		return nil, err
	}
	run := e.asked(list)
	run["model-quant"] = l.Quant.String()
	run["program"], run["engine"], run["dtype"], run["model"], run["top-k"] = readBuild().version(), l.Engine.Name, l.DType(), model, fmt.Sprint(e.topK)
	files := map[string]string{"tokenizer": filepath.Join(e.model, "tokenizer.json")}
	if e.adapter != "" {
		files["adapter"], files["adapter configuration"] = filepath.Join(e.adapter, moelora.WeightsFile), filepath.Join(e.adapter, moelora.ConfigFile)
	}
	for name, path := range files {
		if run[name], err = hashFile(path); err != nil {
			return nil, err
		}
	}
	return run, nil
}

// asked lists what is asked and how, by name.
func (e *evaluating) asked(list []question) map[string]string {
	run := map[string]string{"split": e.split, "by": e.by, "prompt": e.prompt, "over-context": e.over, "answer-rule": e.rule,
		"max-new-tokens": fmt.Sprint(e.options.MaxNewTokens)}
	for _, q := range list {
		h := sha256.New()
		for _, it := range q.items {
			_, _ = fmt.Fprintf(h, "%q %q %q\n", it.Prompt, it.Gold, it.Candidates)
		}
		run["data of "+q.Name] = fmt.Sprintf("%d items, SHA-256 %x", len(q.items), h.Sum(nil))
	}
	return run
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, fault.Reason(err))
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
