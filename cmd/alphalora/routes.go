package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"alphalora/internal/fault"
	"alphalora/internal/report"
	"alphalora/model"
	"alphalora/moelora"
	"alphalora/train"
	"alphalora/train/data"
)

// routing holds the flags of the verb routes.
type routing struct {
	*subject
	data, checkpoints []string
	limit, cutoff     int
	deadBelow         float64
}

// routed is the JSON of the verb routes; docs/routes.md says what each number is.
type routed struct {
	Model       string               `json:"model"`
	Adapter     string               `json:"adapter"`
	Engine      string               `json:"engine"`
	DType       string               `json:"dtype"`
	Data        []string             `json:"data"`
	Records     int                  `json:"records"`
	Tokens      int                  `json:"tokens"`
	Cutoff      int                  `json:"cutoff"`
	Cut         int                  `json:"cut"`          // records longer than the cutoff
	OverContext int                  `json:"over_context"` // records longer than the model's context
	DeadBelow   float64              `json:"dead_below"`
	Projections []moelora.Usage      `json:"projections"`
	Layers      []moelora.LayerUsage `json:"layers"`
	Checkpoints []routedCheckpoint   `json:"checkpoints,omitempty"` // the oldest first, the adapter last

	layers int // of the model, for the page
}

// routedCheckpoint is one adapter of several over the same tokens.
type routedCheckpoint struct {
	Dir         string               `json:"dir"`
	Step        int                  `json:"step,omitempty"` // of a training checkpoint
	Projections []moelora.Usage      `json:"projections"`    // without pairs
	Layers      []moelora.LayerUsage `json:"layers"`
	Drift       []moelora.Drift      `json:"drift,omitempty"` // none for the first
	LayerDrift  []moelora.Drift      `json:"layer_drift,omitempty"`
}

const routesHelp = `routes reads the records of training data (instruction and answer, or token ids) with the
adapter and counts what its routers choose: for each layer and projection the load of each
expert, the entropy of the load and of a token's distribution, dead experts, how often the most
frequent first choice is taken, and how often two experts work together. All tokens of a record
count, those of its prompt too; padding never does.

With --checkpoints it also tells how far the routing moved from one to the next, over the same
tokens: the oldest first, the adapter is the last. DIR is an adapter directory or a checkpoint
of a run (runs/x/checkpoints/step-000200) of the same shape; a checkpoint is an adapter too.

A record longer than the model's context is read all the same, and counted; --cutoff cuts it.`

func routesCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "routes --model MODEL --adapter DIR --data FILE[,FILE...]",
		Short: "tell which experts the tokens of a text choose",
		Long:  routesHelp,
		Args:  cobra.NoArgs,
		Example: "  alphalora routes --model models/mistral-7b --adapter runs/csqa/adapter --data test.json --html routes.html\n" +
			"  alphalora routes --model models/mistral-7b --adapter runs/csqa/adapter --data test.json \\\n" +
			"    --checkpoints runs/csqa/checkpoints/step-000200,runs/csqa/checkpoints/step-000400 --json routes.json",
	}
	r := &routing{subject: addSubject(cmd, "top-k")}
	jsonPath := addJSON(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&r.data, "data", nil, "JSON or JSONL `FILES` as training takes them (required)")
	f.StringSliceVar(&r.checkpoints, "checkpoints", nil, "earlier adapters or checkpoints, the oldest first: `DIRS`")
	f.IntVar(&r.limit, "limit", 0, "read only the first records (0: all)")
	f.IntVar(&r.cutoff, "cutoff", 0, "cut records behind so many tokens (0: no record is cut)")
	f.Float64Var(&r.deadBelow, "dead-below", 0.01, "an expert is dead when its load is 0 or below this share of an even load")
	htmlPath := f.String("html", "", "write a page with heat maps and a table to `FILE`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := writable("--html", *htmlPath); err != nil {
			return err
		}
		result, err := a.routes(cmd.Context(), r)
		if err != nil {
			return err
		}
		if err := result.print(a.text(*jsonPath)); err != nil {
			return err
		}
		if *htmlPath != "" {
			if err := report.Write(*htmlPath, result.page()); err != nil {
				return err
			}
		}
		return a.writeJSON(*jsonPath, result)
	}
	return cmd
}

func (r *routing) check() error {
	switch {
	case r.model == "" || r.adapter == "" || len(r.data) == 0:
		return fault.Input("the call", "see alphalora routes --help", "--model, --adapter and --data are needed")
	case r.limit < 0:
		return fault.Input(fmt.Sprintf("--limit %d", r.limit), "0 is all records", "is negative")
	case r.cutoff < 0:
		return fault.Input(fmt.Sprintf("--cutoff %d", r.cutoff), "0 cuts nothing", "is negative")
	case r.batch < 1 || r.batch > 1<<16:
		return fault.Input(fmt.Sprintf("--batch %d", r.batch), "use 1 to 65536", "cannot be run")
	case !(r.deadBelow >= 0 && r.deadBelow <= 1):
		return fault.Input(fmt.Sprintf("--dead-below %v", r.deadBelow), "use a share from 0 to 1", "is no share")
	}
	return nil
}

// routes reads the data, then the model with its adapters, and counts.
func (a *app) routes(ctx context.Context, r *routing) (*routed, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	d, err := model.ReadDescription(r.model)
	if err != nil {
		return nil, err
	}
	result := &routed{Model: r.model, Adapter: r.adapter, Data: r.data, Cutoff: r.cutoff, DeadBelow: r.deadBelow, layers: d.Layers}
	samples, err := r.samples(ctx, d, result)
	if err != nil {
		return nil, err
	}
	if result.OverContext > 0 {
		a.say("warning: %d records are longer than the model's context of %d tokens (--cutoff cuts them)", result.OverContext, d.Context)
	}
	return result, a.census(ctx, r, samples, result)
}

// census counts the samples under every adapter.
func (a *app) census(ctx context.Context, r *routing, samples data.List, result *routed) error {
	m, err := a.loadModel(ctx, r.model, r.dtype, r.quant)
	if err != nil {
		return err
	}
	defer m.Free()
	result.Engine, result.DType = m.Engine.Name, m.DType()
	adapters, steps, err := r.adapters(m)
	defer func() {
		for _, adapter := range adapters {
			adapter.Params.Free()
		}
	}()
	if err != nil {
		return err
	}
	census, err := moelora.NewCensus(m, adapters)
	if err != nil {
		return fmt.Errorf("%s: %w", r.adapter, err)
	}
	defer census.Close()
	if err := a.count(ctx, census, samples, r.batch); err != nil {
		return err
	}
	result.fill(census, r.dirs(), steps)
	return nil
}

// dirs are the checkpoints and the adapter, which is the last.
func (r *routing) dirs() []string { return append(slices.Clone(r.checkpoints), r.adapter) }

// samples reads the records as token ids, cut and limited.
func (r *routing) samples(ctx context.Context, d model.Description, result *routed) (data.List, error) {
	o := data.Options{Vocabulary: d.Vocabulary, TrainOnInputs: true}
	t, err := openTokenizer(r.model, d.Vocabulary)
	if err == nil {
		defer t.Close()
		o.Encoder = t
	} else if _, missing := os.Stat(filepath.Join(r.model, "tokenizer.json")); missing == nil {
		return nil, err // it is there and bad; where it is absent, tokenised data can do without
	}
	set, err := data.Read(ctx, data.Sources(r.data, nil), o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = set.Close() }() // it was only read
	count := set.Len()
	if r.limit > 0 {
		count = min(count, r.limit)
	}
	samples := make(data.List, count)
	for i := range samples {
		s := &samples[i]
		if *s, err = set.Sample(i); err != nil {
			return nil, err
		}
		if s.Labels = nil; r.cutoff > 0 && len(s.IDs) > r.cutoff {
			s.IDs = s.IDs[:r.cutoff]
			result.Cut++
		}
		if d.Context > 0 && len(s.IDs) > d.Context {
			result.OverContext++
		}
		result.Tokens += len(s.IDs)
	}
	result.Records = len(samples)
	return samples, nil
}

// adapters loads the checkpoints and the adapter, which comes last, with the steps of
// those that state one. What was loaded comes back beside an error too.
func (r *routing) adapters(m *model.Model) (list []*moelora.Adapter, steps []int, err error) {
	for _, dir := range r.dirs() {
		step := 0
		if train.IsCheckpoint(dir) {
			c, err := train.OpenCheckpoint(dir)
			if err != nil {
				return list, nil, fault.Input(dir, "give another checkpoint of the run", "%v", err)
			}
			step = c.Step
		}
		adapter, err := moelora.Load(dir, m, r.topK)
		if err != nil {
			return list, nil, err
		}
		list = append(list, adapter)
		if !reflect.DeepEqual(list[0].Shape, adapter.Shape) {
			return list, nil, fault.Input(dir, "give adapters of one run", "has another shape than %s: experts %v and %v, top-k %v and %v, r %d and %d",
				r.checkpoints[0], adapter.Experts, list[0].Experts, adapter.TopK, list[0].TopK, adapter.Rank, list[0].Rank)
		}
		steps = append(steps, step)
	}
	return list, steps, nil
}

// count runs the samples in batches of like length.
func (a *app) count(ctx context.Context, census *moelora.Census, samples data.List, batch int) error {
	batch = min(batch, len(samples))
	batcher, err := data.NewBatcher(samples, data.Plan{Batch: batch, Micro: batch, GroupByLength: true})
	if err != nil {
		return err
	}
	bar := a.progress(len(samples), "routes")
	for step := range batcher.StepsPerEpoch() {
		batches, err := batcher.Step(step)
		if err != nil {
			return err
		}
		for _, b := range batches {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := census.Add(b.IDs, b.Lengths, b.Rows, b.Length); err != nil {
				return err
			}
			bar.Add(min(b.Rows, len(samples)-bar.done), "")
		}
	}
	bar.Done()
	return nil
}

// fill turns the counts into shares.
func (r *routed) fill(census *moelora.Census, dirs []string, steps []int) {
	last := len(dirs) - 1
	usages := func(adapter int) []moelora.Usage {
		var list []moelora.Usage
		for _, t := range census.Tallies(adapter) {
			list = append(list, t.Usage(r.DeadBelow))
		}
		return list
	}
	r.Projections = usages(last)
	r.Layers = moelora.LayerUsages(r.Projections)
	if last == 0 {
		return
	}
	for i, dir := range dirs {
		c := routedCheckpoint{Dir: dir, Step: steps[i], Projections: usages(i)}
		for j := range c.Projections {
			c.Projections[j].Pairs = nil
		}
		c.Layers = moelora.LayerUsages(c.Projections)
		if i > 0 {
			for j, t := range census.Tallies(i) {
				c.Drift = append(c.Drift, t.Drift(census.Tallies(0)[j], census.Tallies(i - 1)[j]))
			}
			c.LayerDrift = moelora.LayerDrift(c.Drift)
		}
		r.Checkpoints = append(r.Checkpoints, c)
	}
}

// print writes a line for each routed layer and for each checkpoint.
func (r *routed) print(w io.Writer) error {
	_, _ = fmt.Fprintf(w, "%d records, %d tokens, %d records cut\n", r.Records, r.Tokens, r.Cut)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "layer\texperts\ttop-k\tload entropy\ttoken entropy\ttop-1 share\tfirst gate\tdead\t")
	for _, l := range r.Layers {
		_, _ = fmt.Fprintf(t, "%d\t%d\t%d\t%.3f\t%.3f\t%.3f\t%.3f\t%d of %d\t\n",
			l.Layer, l.Experts, l.TopK, l.LoadEntropy, l.TokenEntropy, l.Top1Share, l.FirstGate, l.Dead, l.Experts*l.Projections)
	}
	if len(r.Checkpoints) > 0 {
		_, _ = fmt.Fprintln(t, "checkpoint\tload moved, first\tprevious\tchoice changed, first\tprevious\t")
		for i := range r.Checkpoints {
			d := r.meanDrift(i)
			_, _ = fmt.Fprintf(t, "%s\t%.3f\t%.3f\t%.3f\t%.3f\t\n", r.checkpointName(i), d.LoadFirst, d.LoadPrevious, d.ChosenFirst, d.ChosenPrevious)
		}
	}
	return t.Flush()
}

// meanDrift is the mean over all routed layers of how far a checkpoint moved.
func (r *routed) meanDrift(checkpoint int) moelora.Drift {
	return moelora.MeanDrift(r.Checkpoints[checkpoint].LayerDrift)
}

// checkpointName is the step of a checkpoint, or the last part of a directory's name.
func (r *routed) checkpointName(i int) string {
	if step := r.Checkpoints[i].Step; step > 0 {
		return strconv.Itoa(step)
	}
	return filepath.Base(filepath.Clean(r.Checkpoints[i].Dir))
}

// meanOf is the mean of a value of the routed layers.
func (r *routed) meanOf(value func(moelora.LayerUsage) float64) float64 {
	if len(r.Layers) == 0 {
		return math.NaN()
	}
	sum := 0.0
	for _, l := range r.Layers {
		sum += value(l)
	}
	return sum / float64(len(r.Layers))
}
