package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/weights"
	"alphalora/moelora"
)

// describe reads what a model directory holds without loading it: no engine is needed.
func describe(dir string) (*model.Model, error) {
	if dir == "" {
		return nil, fault.Input("--model", "name a model directory", "is missing")
	}
	d, err := model.ReadDescription(dir)
	if err != nil {
		return nil, err
	}
	set, err := weights.Open(dir)
	if err != nil {
		return nil, err
	}
	err = set.Check(d.Specs())
	return &model.Model{Description: d, Dir: dir}, errors.Join(err, set.Close())
}

// describeAdapter reads a base model's description and an adapter of it.
func describeAdapter(modelDir, adapterDir string) (*model.Model, *moelora.Adapter, error) {
	base, err := describe(modelDir)
	if err != nil {
		return nil, nil, err
	}
	if adapterDir == "" {
		return nil, nil, fault.Input("--adapter", "name an adapter directory", "is missing")
	}
	a, err := moelora.Load(adapterDir, base, 0)
	return base, a, err
}

// vacant refuses an output directory that holds something already.
func vacant(out string) error {
	if out == "" {
		return fault.Input("--out", "name a new directory", "is missing")
	}
	entries, err := os.ReadDir(out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fault.Input("--out "+out, "name a new directory", "cannot be used: %v", fault.Reason(err))
	case len(entries) > 0:
		return fault.Input("--out "+out, "name a new or an empty directory", "exists and is not empty (%s is in it)", entries[0].Name())
	}
	return nil
}

// listed joins a few names and says how many more there are.
func listed(names []string) string {
	const few = 4
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}
