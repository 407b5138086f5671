package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"alphalora/alphalora"
	"alphalora/configs"
	"alphalora/eval"
	"alphalora/internal/fault"
	"alphalora/model"
)

// Files of a sweep's output directory.
const (
	planFile     = "plan.json"
	spectrumFile = "spectrum.json"
)

// planVersion of the plans that this program writes, and the most bytes that one may have.
const (
	planVersion = 1
	maxPlan     = 16 << 20
)

// cell is one combination. Metric is empty where the strategy goes by no values.
type cell struct {
	Strategy string `json:"strategy"`
	Metric   string `json:"metric,omitempty"`
	Experts  int    `json:"experts"`
	Seed     int64  `json:"seed"`
}

// label names a strategy as tables do.
func (c cell) label() string {
	if c.Metric == "" || c.Metric == alphalora.Metrics()[0].Name {
		return c.Strategy
	}
	return c.Strategy + " by " + c.Metric
}

// sweepPlan is plan.json: what all runs of a sweep have in common, and the cells of all calls,
// in the order in which they were asked for.
type sweepPlan struct {
	Format   int               `json:"format_version"`
	Config   string            `json:"config"`    // YAML, without what cells decide
	MadeFrom map[string]string `json:"made_from"` // hashes and settings, by name
	Cells    []cell            `json:"cells"`
}

// plan is a sweep that is ready to run.
type plan struct {
	sweepPlan
	analysis *alphalora.Analysis
	trials   []trial // one a cell
	layers   int
}

// planned joins the call's cells to those of earlier calls, and holds everything against what
// these were made from. Nothing is written before all of it is right.
func (a *app) planned(ctx context.Context, s *sweeping, questions []question) (*plan, error) {
	path := filepath.Join(s.base.Output, planFile)
	old, err := readPlan(path)
	if err != nil {
		return nil, err
	}
	if old == nil {
		if _, err := os.Stat(filepath.Join(s.base.Output, configFile)); err == nil {
			return nil, fault.Input("output "+s.base.Output, "choose another directory", "holds a run of train")
		}
	}
	d, err := model.ReadDescription(s.base.Model)
	if err != nil {
		return nil, err
	}
	p := &plan{layers: d.Layers}
	if p.sweepPlan, err = a.common(ctx, s, questions); err != nil {
		return nil, err
	}
	if old != nil {
		if err := p.same(path, *old); err != nil {
			return nil, err
		}
		p.Cells = old.Cells
	}
	if p.analysis, err = a.analyze(ctx, s.base.Model, spectral{estimator: s.base.Allocation.Estimator, precision: "f64"}); err != nil {
		return nil, err
	}
	for _, c := range s.cells() {
		if !slices.Contains(p.Cells, c) {
			p.Cells = append(p.Cells, c)
		}
	}
	if err := p.lay(s, d); err != nil {
		return nil, err
	}
	return p, errors.Join(a.writeJSON(path, p.sweepPlan), a.writeJSON(filepath.Join(s.base.Output, spectrumFile), p.analysis))
}

// cells are the call's, so that the first ones already compare strategies.
func (s *sweeping) cells() (list []cell) {
	for _, experts := range s.experts {
		for _, seed := range s.seeds {
			for _, name := range s.strategies {
				metrics := s.metrics
				if strategy, err := alphalora.StrategyNamed(name); err != nil || !strategy.UsesValues { // lora is none of them
					metrics = []string{""}
				}
				for _, metric := range metrics {
					list = append(list, cell{name, metric, experts, seed})
				}
			}
		}
	}
	return list
}

// lay makes a trial of each cell, and finds those that are one run.
func (p *plan) lay(s *sweeping, d model.Description) error {
	first := map[string]int{}
	for i, c := range p.Cells {
		t, err := s.trial(c, p.analysis, d)
		if err != nil {
			return err
		}
		if at, ok := first[t.dir]; ok {
			t.sharedWith = at
		} else {
			first[t.dir] = i
		}
		p.trials = append(p.trials, t)
	}
	return nil
}

// longestName of a run's directory in which the experts of each layer are written out.
const longestName = 120

// runName is the same for cells that train the same.
func runName(run configs.Run, experts []int) string {
	counts := make([]string, len(experts))
	for i, n := range experts {
		counts[i] = strconv.Itoa(n)
	}
	shape := strings.Join(counts, "-")
	if len(shape) > longestName {
		shape = fmt.Sprintf("%x", sha256.Sum256([]byte(shape)))[:16]
	}
	return fmt.Sprintf("%s-r%d-%s-seed-%d", run.Adapter.Kind, run.Adapter.R, shape, run.Training.Seed)
}

// common is the part of the plan that all calls must share.
func (a *app) common(ctx context.Context, s *sweeping, questions []question) (p sweepPlan, err error) {
	run := s.base
	run.Training.Seed = 0
	run.Allocation.Strategy, run.Allocation.Experts, run.Allocation.Metric = "uniform", 1, alphalora.Metrics()[0].Name
	yaml, err := run.YAML()
	if err != nil {
		return p, err
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return p, err
	}
	p = sweepPlan{Format: planVersion, Config: string(yaml), MadeFrom: s.asked(questions)}
	p.MadeFrom["engine"] = eng.Name
	p.MadeFrom["zero-shot"] = strings.Join(slices.Sorted(slices.Values(s.zeroShot)), ",")
	for _, path := range s.sources() {
		if p.MadeFrom[path], err = hashFile(path); err != nil {
			return p, err
		}
	}
	return p, nil
}

// sources are the files that all runs read.
func (s *sweeping) sources() []string {
	list := slices.Concat(s.base.Data.Train, s.base.Data.Validation)
	if strings.HasSuffix(s.base.Data.Template, ".jinja") {
		list = append(list, s.base.Data.Template)
	}
	for _, pattern := range []string{"config.json", "tokenizer.json", "tokenizer_config.json", "*.safetensors"} {
		found, _ := filepath.Glob(filepath.Join(s.base.Model, pattern)) // these patterns are right
		list = append(list, found...)
	}
	return list
}

// mayDiffer are the keys of the configuration that leave what is computed as it is.
var mayDiffer = []string{"output", "data.cache", "training.checkpoint_every", "training.keep_checkpoints"}

// same refuses to add to a sweep of anything else.
func (p *plan) same(path string, old sweepPlan) error {
	before, err := configs.Parse(path, []byte(old.Config), nil)
	if err != nil {
		return err
	}
	now, err := configs.Parse(path, []byte(p.Config), nil)
	if err != nil {
		return err
	}
	var changed []string
	for _, c := range configs.Changes(before, now) {
		if !slices.Contains(mayDiffer, c.Key) {
			changed = append(changed, c.String())
		}
	}
	if changed = append(changed, eval.Changed(old.MadeFrom, p.MadeFrom)...); len(changed) > 0 {
		return fault.Input(path, "call it as before, or name another output", "the cells done so far are of something else: %s", strings.Join(changed, "; "))
	}
	return nil
}

// readPlan reads the plan of earlier calls; nil where there is none.
func readPlan(path string) (*sweepPlan, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	const remedy = "put it back as it was, or name another output"
	if err != nil {
		return nil, fault.Input(path, remedy, "cannot be read: %v", fault.Reason(err))
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, maxPlan+1))
	if err != nil {
		return nil, fault.Input(path, remedy, "cannot be read: %v", fault.Reason(err))
	}
	p, err := parsePlan(content)
	if err != nil {
		return nil, fault.Input(path, remedy, "is not the plan of a sweep: %v", err)
	}
	return &p, nil
}

func parsePlan(content []byte) (p sweepPlan, err error) {
	if len(content) > maxPlan {
		return p, fmt.Errorf("it has more than the %d bytes allowed", maxPlan)
	}
	in := json.NewDecoder(bytes.NewReader(content))
	in.DisallowUnknownFields()
	if err := in.Decode(&p); err != nil {
		return p, err
	}
	if in.More() || p.Format != planVersion || len(p.Cells) == 0 {
		return p, fmt.Errorf("format_version is %d with %d cells: version %d and one cell or more are needed", p.Format, len(p.Cells), planVersion)
	}
	seen := map[cell]bool{}
	for i, c := range p.Cells {
		if err := errors.Join(checkStrategy(c.Strategy), checkTotal(c.Experts)); err != nil || seen[c] {
			return p, fmt.Errorf("cell %d is wrong or comes twice: %w", i+1, errors.Join(err, fmt.Errorf("%+v", c)))
		}
		seen[c] = true
	}
	return p, nil
}
