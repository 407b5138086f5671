package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"alphalora/alphalora"
	"alphalora/internal/fault"
	"alphalora/model/weights"
)

// allocating holds the flags of the verb allocate.
type allocating struct {
	*spectral
	spectrum, published string
	values              []float64
	metric              string
	r                   int
	request             alphalora.Request
}

func allocateCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "allocate (MODEL | [MODEL] --spectrum F | --values V,... | --published NAME) --experts N",
		Short: "share out LoRA experts over a model's layers",
		Long:  allocateHelp(),
		Args:  cobra.MaximumNArgs(1),
		Example: "  alphalora allocate --published mistral-7b --experts 160\n" +
			"  alphalora allocate models/mistral-7b --experts 160 --json allocation.json",
	}
	f := addAllocating(cmd)
	jsonPath := addJSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(cmd, args); err != nil {
			return err
		}
		if err := writable("--json", *jsonPath); err != nil {
			return err
		}
		known, err := a.source(cmd.Context(), *f, args)
		if err != nil {
			return err
		}
		allocation, err := f.allocate(known)
		if err != nil {
			return err
		}
		if err := allocation.Trainable(); err != nil {
			a.say("warning: %v", err)
		}
		if err := printAllocation(a.text(*jsonPath), allocation, f.r); err != nil {
			return err
		}
		return a.writeJSON(*jsonPath, allocation)
	}
	return cmd
}

func allocateHelp() string {
	long := "allocate gives each layer its experts. The values come from a model that is analysed, from\n" +
		"a file of analyze --json (with MODEL, one of its weights), from the call, or from what was\n" +
		"published.\n\nStrategies:\n"
	for _, s := range alphalora.Strategies() {
		long += fmt.Sprintf("  %-18s %s\n", s.Name, s.Doc)
	}
	long += "A mola pattern is taken as written, or scaled to --experts where given.\n\nRoundings:\n"
	for _, r := range alphalora.Roundings() {
		long += fmt.Sprintf("  %-18s %s\n", r.Name, r.Doc)
	}
	return strings.TrimSuffix(long, "\n")
}

func addAllocating(cmd *cobra.Command) *allocating {
	f := &allocating{spectral: addSpectral(cmd)}
	var metrics, published []string
	for _, m := range alphalora.Metrics() {
		metrics = append(metrics, m.Name)
	}
	for _, p := range alphalora.PublishedModels() {
		published = append(published, p.Name)
	}
	flags := cmd.Flags()
	flags.StringVar(&f.spectrum, "spectrum", "", "`FILE` that analyze --json wrote")
	flags.Float64SliceVar(&f.values, "values", nil, "one value for each layer")
	flags.StringVar(&f.published, "published", "", "published values of "+strings.Join(published, ", "))
	flags.StringVar(&f.metric, "metric", metrics[0], "what the layers are compared by: "+strings.Join(metrics, ", "))
	flags.IntVar(&f.r, "r", 8, "rank of each expert, for the count of trainable parameters")
	flags.IntVar(&f.request.Total, "experts", 0, "experts of all layers together")
	flags.Float64Var(&f.request.Beta, "beta", 2.5, "how strongly values count; 0 is uniform")
	flags.StringVar(&f.request.Strategy, "strategy", "alphalora", "alphalora, uniform, mola-PATTERN or manual")
	flags.StringVar(&f.request.Rounding, "rounding", alphalora.Roundings()[0].Name, "largest-remainder or released")
	flags.IntSliceVar(&f.request.PerLayer, "per-layer", nil, "the counts of --strategy manual")
	return f
}

// check refuses flags that do not go together.
func (f *allocating) check(cmd *cobra.Command, args []string) error {
	given := cmd.Flags().Changed
	sources := len(args)
	if given("spectrum") {
		sources = 0 // a MODEL beside it is what it is checked against
	}
	for _, flag := range []string{"spectrum", "values", "published"} {
		if given(flag) {
			sources++
		}
	}
	manual := f.request.Strategy == "manual"
	switch {
	case sources > 1 || sources == 0 && !manual:
		return fault.Input("the call", "see alphalora allocate --help", "give one of MODEL, --spectrum, --values and --published")
	case given("per-layer") != manual:
		return fault.Input("the call", "see alphalora allocate --help", "--per-layer and --strategy manual go together")
	case given("experts") && f.request.Total < 1:
		return fault.Input(fmt.Sprintf("--experts %d", f.request.Total), "", "must be at least 1")
	case f.r < 1 || f.r > 1<<16:
		return fault.Input(fmt.Sprintf("--r %d", f.r), "the paper uses 8", "must be from 1 to %d", 1<<16)
	case (len(args) == 0 || given("spectrum")) && slices.ContainsFunc([]string{"estimator", "precision", "cache", "products", "solver"}, given):
		return fault.Input("the call", "leave them out", "--estimator, --precision, --cache, --products and --solver are for a MODEL that is analysed")
	case given("metric") && (given("values") || given("published")):
		return fault.Input("the call", "leave it out", "--metric chooses from an analysis; --values and --published are values already")
	}
	return nil
}

// source is what is known of the layers.
type source struct {
	layers            int
	values            []float64
	metric, estimator string
	shapes            [][]alphalora.Shape // nil where not known
}

// source finds the layers' values, for a strategy that uses them, and their shapes.
func (a *app) source(ctx context.Context, f allocating, args []string) (source, error) {
	strategy, err := alphalora.StrategyNamed(f.request.Strategy)
	if err != nil {
		return source{}, err
	}
	switch {
	case f.spectrum != "":
		analysis, err := alphalora.ReadAnalysis(f.spectrum)
		if err == nil && len(args) == 1 {
			err = a.checkSpectrum(ctx, analysis, args[0])
		}
		if err != nil {
			return source{}, err
		}
		return a.analysed(analysis, f.metric, strategy.UsesValues)
	case len(args) == 1:
		known, err := shapesOnly(args[0])
		if err != nil || !strategy.UsesValues {
			return known, err
		}
		if err := f.rehearse(known.layers); err != nil {
			return source{}, err
		}
		analysis, err := a.analyze(ctx, args[0], *f.spectral)
		if err != nil {
			return source{}, err
		}
		return a.analysed(analysis, f.metric, true)
	case f.published != "":
		p, err := alphalora.PublishedNamed(f.published)
		return source{layers: len(p.Alpha), values: p.Alpha, metric: "alpha", estimator: "hill", shapes: p.Shapes()}, err
	case f.values != nil:
		return source{layers: len(f.values), values: f.values}, nil
	}
	return source{layers: len(f.request.PerLayer)}, nil
}

// rehearse finds what is wrong with the call before a model is analysed for it.
func (f *allocating) rehearse(layers int) error {
	if _, err := alphalora.MetricNamed(f.metric); err != nil {
		return err
	}
	ones := make([]float64, layers)
	for i := range ones {
		ones[i] = 1
	}
	_, err := f.allocate(source{layers: layers, values: ones})
	return err
}

// analysed takes what is needed from an analysis, whose warnings it passes on where its values
// count.
func (a *app) analysed(analysis *alphalora.Analysis, metric string, usesValues bool) (source, error) {
	s := source{layers: len(analysis.Layers), shapes: make([][]alphalora.Shape, len(analysis.Layers))}
	for _, m := range analysis.Matrices {
		if m.Layer >= s.layers {
			return source{}, fault.Input("spectrum of "+analysis.Model, "analyse the model again", "%s is of layer %d of %d", m.Name, m.Layer, s.layers)
		}
		s.shapes[m.Layer] = append(s.shapes[m.Layer], alphalora.Shape{In: m.Cols, Out: m.Rows})
	}
	if !usesValues {
		return s, nil
	}
	for _, warning := range analysis.Warnings() {
		a.say("warning: %s", warning)
	}
	s.metric, s.estimator = metric, analysis.Estimator
	var err error
	s.values, err = analysis.LayerValues(metric)
	return s, err
}

// shapesOnly reads no weights.
func shapesOnly(dir string) (source, error) {
	set, err := weights.Open(dir)
	if err != nil {
		return source{}, err
	}
	defer func() { _ = set.Close() }()
	matrices, err := projections(dir, set)
	if err != nil {
		return source{}, err
	}
	s := source{layers: matrices[len(matrices)-1].Layer + 1}
	s.shapes = make([][]alphalora.Shape, s.layers)
	for _, m := range matrices {
		s.shapes[m.Layer] = append(s.shapes[m.Layer], alphalora.Shape{In: m.Cols, Out: m.Rows})
	}
	return s, nil
}

func (f *allocating) allocate(known source) (alphalora.Allocation, error) {
	request := f.request
	request.Layers, request.Values = known.layers, known.values
	allocation, err := alphalora.Allocate(request)
	if err != nil {
		return alphalora.Allocation{}, err
	}
	if allocation.Beta != nil {
		allocation.Metric, allocation.Estimator = known.metric, known.estimator
	}
	if known.shapes != nil {
		allocation.TrainableParameters, err = alphalora.TrainableParameters(allocation.Experts, known.shapes, f.r)
	}
	return allocation, err
}

// printAllocation prints the counts as a table, and what follows from them.
func printAllocation(w io.Writer, allocation alphalora.Allocation, r int) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(table, "layer\texperts\ttop-k\t")
	for layer, experts := range allocation.Experts {
		_, _ = fmt.Fprintf(table, "%d\t%d\t%d\t\n", layer, experts, allocation.TopK[layer])
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("the table was not printed: %w", err)
	}
	_, _ = fmt.Fprintf(w, "%s: %d experts in %d layers\n", allocation.Strategy, allocation.Total, len(allocation.Experts))
	if len(allocation.WithoutExperts) > 0 {
		_, _ = fmt.Fprintf(w, "layers without experts, which train no adapter: %v\n", allocation.WithoutExperts)
	}
	if allocation.TrainableParameters > 0 {
		_, _ = fmt.Fprintf(w, "trainable parameters at r %d: %d\n", r, allocation.TrainableParameters)
	}
	return nil
}
