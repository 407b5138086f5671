package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"alphalora/eval"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/generate"
	"alphalora/model/tokenizer"
	"alphalora/moelora"
)

// subject names the model that a verb works on, and how it runs.
type subject struct {
	model, adapter, dtype string
	topK, batch           int
	quant                 quantisation
	devices               string // that share the work: a number or all; empty: one
}

// addSubject gives cmd the flags of a subject; topK names the one for the adapter's
// experts, since generate has another top-k.
func addSubject(cmd *cobra.Command, topK string) *subject {
	s := &subject{}
	f := cmd.Flags()
	f.StringVar(&s.model, "model", "", "`DIR` of the model in Hugging Face layout (required)")
	f.StringVar(&s.adapter, "adapter", "", "`DIR` of an adapter (default: the base model alone)")
	f.IntVar(&s.topK, topK, 0, "experts a token uses, over what the adapter states (0: as it states; an adapter that states none: 2)")
	f.StringVar(&s.dtype, "dtype", "float32", "number format of the weights: float32, bfloat16, float16, or file (as the checkpoint has it)")
	addQuantisation(f, &s.quant)
	f.IntVar(&s.batch, "batch", 8, "rows that run together")
	return s
}

// loaded is a subject on the device.
type loaded struct {
	*model.Model
	adapter   *moelora.Adapter // nil: the base alone
	generator *generate.Generator
	tokenizer *tokenizer.Tokenizer // nil until asked for
	forks     *eval.Forks          // nil until asked for
}

// load reads the model and, where one is named, its adapter.
func (a *app) load(ctx context.Context, s *subject) (*loaded, error) {
	if s.model == "" {
		return nil, fault.Input("--model", "name a model directory", "is missing")
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.useDevices(eng); err != nil {
		return nil, err
	}
	l := &loaded{}
	if l.Model, err = a.loadModel(ctx, s.model, s.dtype, s.quant); err != nil {
		return nil, err
	}
	var adapter model.Adapter
	if s.adapter != "" {
		if l.adapter, err = moelora.Load(s.adapter, l.Model, s.topK); err != nil {
			return nil, err
		}
		if err := l.adapter.Params.Spread(eng); err != nil {
			return nil, err
		}
		adapter = l.adapter
	}
	l.generator, err = generate.New(l.Model, adapter, s.batch)
	return l, err
}

// loadModel opens the engine and reads a model.
func (a *app) loadModel(ctx context.Context, dir, dtype string, q quantisation) (*model.Model, error) {
	how, err := a.quantised(q)
	if err != nil {
		return nil, err
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return nil, err
	}
	return model.LoadQuantised(ctx, eng, dir, dtype, how)
}

// close frees what lies on the device.
func (l *loaded) close() {
	l.generator.Close()
	if l.forks != nil {
		l.forks.Close()
	}
	if l.tokenizer != nil {
		l.tokenizer.Close()
	}
	if l.adapter != nil {
		l.adapter.Params.Free()
	}
	l.Free()
}

// text opens the model's tokenizer.
func (l *loaded) text() (*tokenizer.Tokenizer, error) {
	if l.tokenizer != nil {
		return l.tokenizer, nil
	}
	t, err := openTokenizer(l.Dir, l.Vocabulary)
	l.tokenizer = t
	return t, err
}

// openTokenizer opens the tokenizer of a model directory and holds it against the
// model's embedding.
func openTokenizer(dir string, vocabulary int) (*tokenizer.Tokenizer, error) {
	t, err := tokenizer.Open(dir)
	if err != nil {
		return nil, err
	}
	if t.MaxID() >= vocabulary {
		t.Close()
		return nil, fault.Input(dir, "use the tokenizer that belongs to this model",
			"the tokenizer's largest token id is %d, but the embedding has %d rows", t.MaxID(), vocabulary)
	}
	return t, nil
}

// maxIDsBytes bounds a file of token ids.
const maxIDsBytes = 1 << 28

// readIDs reads a JSON list of lists of token ids.
func readIDs(path string) ([][]int32, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fault.Input(path, "name a JSON file with a list of token-id lists", "cannot be read: %v", fault.Reason(err))
	}
	if info.Size() > maxIDsBytes {
		return nil, fault.Input(path, "split the file", "%d bytes are more than the %d allowed", info.Size(), maxIDsBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var ids [][]int32
	if err := json.Unmarshal(data, &ids); err != nil {
		return nil, fault.Input(path, "a list of token-id lists such as [[1,5,9]] is needed", "%v", err)
	}
	if len(ids) == 0 {
		return nil, fault.Input(path, "give at least one list of token ids", "holds no sequence")
	}
	return ids, nil
}
