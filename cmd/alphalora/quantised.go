package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"alphalora/model"
	"alphalora/model/quant"
)

// quantisation says how a base's projections are stored, as flags and configurations have
// it; the zero value is whole.
type quantisation struct {
	kind  string // none, int8 or nf4
	cache string // directory of quantised weights; empty: the user's; none: nowhere
}

// addQuantisation gives a verb the flags of q.
func addQuantisation(f *pflag.FlagSet, q *quantisation) {
	f.StringVar(&q.kind, "model-quant", "none", "how the base's projections are stored: none (in --dtype), int8 or nf4")
	f.StringVar(&q.cache, "quant-cache", "", "`DIR` of quantised weights; none for no cache (default: the user's cache directory)")
}

// quantised reads q; a user's cache directory that is not there is told, and does without.
func (a *app) quantised(q quantisation) (model.Quantisation, error) {
	if q.kind == "" {
		return model.Quantisation{}, nil
	}
	kind, err := quant.Parse(q.kind)
	if err != nil || kind == quant.None {
		return model.Quantisation{}, err
	}
	how := model.Quantisation{Kind: kind, Cache: q.cache, Log: func(line string) { a.say("%s", line) }}
	switch q.cache {
	case "none":
		how.Cache = ""
	case "":
		user, err := os.UserCacheDir()
		if err != nil {
			a.say("quantised weights are not kept: %v (name a directory with --quant-cache)", err)
			return how, nil
		}
		how.Cache = filepath.Join(user, "alphalora", "quantised")
	}
	return how, nil
}
