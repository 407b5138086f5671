package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"alphalora/model"
	"alphalora/train/data"
)

// learning is what a run learns from, and what it is validated on.
type learning struct {
	samples    *data.Set
	batcher    *data.Batcher
	validation *data.Set     // nil: none
	held       *data.Batcher // deals validation out: its first epoch, in steps of one micro-batch
}

func (l *learning) close() {
	for _, set := range []*data.Set{l.samples, l.validation} {
		if set != nil {
			_ = set.Close() // it was only read
		}
	}
}

// readData reads the samples and deals them into batches.
func (r *prepared) readData(ctx context.Context, a *app, d model.Description) error {
	o, err := r.reading(d)
	if err != nil {
		return err
	}
	if r.samples, err = a.readSamples(ctx, "read", data.Sources(r.Data.Train, r.Data.Weights), o); err != nil {
		return err
	}
	t := r.Training
	plan := data.Plan{Batch: t.Batch, Micro: t.MicroBatch, Shuffle: r.Data.Shuffle, GroupByLength: r.Data.GroupByLength,
		Seed: uint64(t.Seed), Shares: r.samples.Shares()}
	if r.Data.Packing {
		plan.Pack = r.Data.Cutoff
	}
	if r.batcher, err = data.NewBatcher(r.samples, plan); err != nil {
		return err
	}
	r.steps = t.Steps
	if r.steps == 0 {
		r.steps = t.Epochs * r.batcher.StepsPerEpoch()
	}
	if len(r.Data.Validation) == 0 {
		return nil
	}
	if r.validation, err = a.readSamples(ctx, "read validation", data.Sources(r.Data.Validation, nil), o); err != nil {
		return err
	}
	r.held, err = data.NewBatcher(r.validation, data.Plan{Batch: t.MicroBatch, Micro: t.MicroBatch, GroupByLength: true, Pack: plan.Pack})
	return err
}

// reading says how records become samples.
func (r *prepared) reading(d model.Description) (data.Options, error) {
	o := data.Options{Vocabulary: d.Vocabulary, Cutoff: r.Data.Cutoff, TrainOnInputs: r.Data.TrainOnInputs,
		Template: r.Data.Template, Skip: r.Data.OnError == "skip", Dir: r.Data.Cache}
	t, err := openTokenizer(r.Model, d.Vocabulary)
	if err == nil {
		r.tokenizer, o.Encoder = t, t
	} else if _, missing := os.Stat(filepath.Join(r.Model, "tokenizer.json")); missing == nil {
		return o, err // it is there and bad; where it is absent, tokenised data can do without
	}
	switch {
	case strings.HasSuffix(r.Data.Template, ".jinja"):
		o.Form, err = data.ReadForm(r.Data.Template)
		return o, err
	case r.Data.Template == data.Chat && t != nil:
		return o, t.CheckChat()
	}
	return o, nil
}

// readSamples reads files with a progress bar, in megabytes.
func (a *app) readSamples(ctx context.Context, label string, sources []data.Source, o data.Options) (*data.Set, error) {
	var bar *progress
	shown := 0
	o.Progress = func(done, total int64) {
		if now := int(done >> 20); now > shown {
			if bar == nil {
				bar = a.progress(int(total>>20), label+" (MiB)")
			}
			bar.Add(now-shown, "")
			shown = now
		}
	}
	set, err := data.Read(ctx, sources, o)
	if err == nil && bar != nil {
		bar.Done()
	}
	return set, err
}

// describeData tells what was read, and shows how one sample is learnt.
func (r *prepared) describeData(w io.Writer) error {
	rep := r.samples.Report
	_, err := fmt.Fprintf(w, "%d samples, %d cut at %d tokens, %d of them dropped; %d tokens, %d learnt; %d steps of %d\n",
		rep.Samples, rep.Cut, r.Data.Cutoff, rep.Dropped, rep.AllTokens, rep.Targets, r.steps, r.Training.Batch)
	if err != nil {
		return err
	}
	if err := describeFiles(w, r.samples); err != nil {
		return err
	}
	if r.validation != nil {
		if _, err := fmt.Fprintf(w, "%d samples of validation, %d tokens, %d of them judged\n", r.validation.Samples, r.validation.AllTokens, r.validation.Targets); err != nil {
			return err
		}
		if err := describeFiles(w, r.validation); err != nil {
			return err
		}
	}
	sample, err := r.describeSample()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, sample)
	return err
}

// describeFiles tells of each file, and of the records that were skipped.
func describeFiles(w io.Writer, set *data.Set) error {
	for i, share := range set.Shares() {
		f := set.Files[i]
		if _, err := fmt.Fprintf(w, "  %s: %d samples, %d an epoch, %d bytes, sha256 %s\n", f.Path, f.Samples, share.Count(), f.Bytes, f.SHA256); err != nil {
			return err
		}
	}
	if set.Skipped == 0 {
		return nil
	}
	if _, err := fmt.Fprintf(w, "%d bad records skipped\n", set.Skipped); err != nil {
		return err
	}
	for _, problem := range set.Problems {
		if _, err := fmt.Fprintf(w, "  %s\n", problem); err != nil {
			return err
		}
	}
	return nil
}

// describeSample shows how one sample is learnt: its text, in parts that carry loss and
// parts that do not, each with the numbers of its tokens.
func (r *prepared) describeSample() (string, error) {
	s, err := r.samples.Sample(0)
	if err != nil {
		return "", err
	}
	learnt := func(i int) bool { return i > 0 && (s.Labels == nil || s.Labels[i] != data.Ignored) }
	count := 0
	for i := range s.IDs {
		if learnt(i) {
			count++
		}
	}
	var text strings.Builder
	_, _ = fmt.Fprintf(&text, "first sample, %s: %d tokens, %d carry loss", r.samples.Origin(0), len(s.IDs), count)
	if r.tokenizer == nil {
		return text.String(), nil
	}
	for from := 0; from < len(s.IDs); {
		to := from + 1
		for to < len(s.IDs) && learnt(to) == learnt(from) {
			to++
		}
		part, err := decodePart(r.tokenizer, s.IDs, from, to)
		if err != nil {
			return "", err
		}
		title := "not learnt"
		if learnt(from) {
			title = "learnt"
		}
		_, _ = fmt.Fprintf(&text, "\n--- %s: tokens %d to %d\n%s", title, from+1, to, part)
		from = to
	}
	text.WriteString("\n---")
	return text.String(), nil
}

type decoder interface {
	Decode(ids []int32, skip bool) (string, error)
}

// decodePart is the text of tokens from to to-1 as it stands in the whole: alone, some
// tokenizers would drop a first space.
func decodePart(t decoder, ids []int32, from, to int) (string, error) {
	before, err := t.Decode(ids[:from], false)
	if err != nil {
		return "", err
	}
	upto, err := t.Decode(ids[:to], false)
	if err != nil {
		return "", err
	}
	if part, ok := strings.CutPrefix(upto, before); ok {
		return part, nil
	}
	return t.Decode(ids[from:to], false) // the border lies inside a character
}
