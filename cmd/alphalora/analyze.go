package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"alphalora/alphalora"
	"alphalora/internal/atomicfile"
	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/model/weights"
)

// spectral holds the flags that say how spectra are measured. What is empty is the default.
type spectral struct {
	estimator, precision, cache, products, solver string
}

func addSpectral(cmd *cobra.Command) *spectral {
	var names []string
	for _, e := range alphalora.Estimators() {
		names = append(names, e.Name)
	}
	s := &spectral{}
	flags := cmd.Flags()
	flags.StringVar(&s.estimator, "estimator", names[0], "how the tail is found: "+strings.Join(names, ", "))
	flags.StringVar(&s.precision, "precision", "f32", "of the arithmetic: f64, or f32, which gives way to f64 where it is not enough")
	flags.StringVar(&s.cache, "cache", "", "`DIR` that keeps eigenvalues for the next run (default: in the user's cache directory); none keeps nothing")
	flags.StringVar(&s.products, "products", "auto", "where WᵀW is computed: cores, engine, or auto (the engine if it is a GPU, or --backend asks for one)")
	flags.StringVar(&s.solver, "solver", "two-stage", "of the eigenvalues: two-stage, or gonum, which is slow")
	return s
}

func analyzeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "analyze MODEL...",
		Short: "measure how well each layer of a model was trained",
		Long:  analyzeHelp(),
		Args:  cobra.MinimumNArgs(1),
		Example: "  alphalora analyze models/mistral-7b --json spectrum.json --html spectrum.html\n" +
			"  alphalora analyze models/llama-2-7b models/mistral-7b --html compare.html --charts charts",
	}
	how := addSpectral(cmd)
	jsonPath := addJSON(cmd)
	csvPath := cmd.Flags().String("csv", "", "write one line for each matrix as CSV to `FILE`")
	page := addSpectralPage(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, out := range [][2]string{{"--json", *jsonPath}, {"--csv", *csvPath}, {"--html", page.html}} {
			if err := writable(out[0], out[1]); err != nil {
				return err
			}
		}
		if err := page.check(); err != nil {
			return err
		}
		list, err := a.analyzeAll(cmd.Context(), args, *how)
		if err != nil {
			return err
		}
		for _, analysis := range list {
			if err := printAnalysis(a.text(*jsonPath), analysis); err != nil {
				return err
			}
		}
		if *csvPath != "" {
			if err := atomicfile.Write(*csvPath, func(w io.Writer) error { return alphalora.WriteCSV(w, list...) }); err != nil {
				return err
			}
		}
		if err := a.writeSpectralPage(list, page); err != nil {
			return err
		}
		if len(list) == 1 {
			return a.writeJSON(*jsonPath, list[0])
		}
		return a.writeJSON(*jsonPath, list)
	}
	return cmd
}

func analyzeHelp() string {
	long := "analyze measures the spectrum of each of the seven projections of every layer, fits a\n" +
		"power law to its tail, and gives the mean of each layer. A matrix whose spectrum has no\n" +
		"tail gets a warning and is left out of its layer's mean. Several models come together in\n" +
		"one page and one file (the JSON is a list then).\n\n" +
		"Eigenvalues are kept as they are found: a run that was stopped goes on where it was,\n" +
		"and another estimator needs no new ones.\n\nEstimators:\n"
	for _, e := range alphalora.Estimators() {
		long += fmt.Sprintf("  %-14s %s\n", e.Name, e.Doc)
	}
	return strings.TrimSuffix(long, "\n")
}

func (a *app) analyzeAll(ctx context.Context, dirs []string, how spectral) ([]*alphalora.Analysis, error) {
	for _, dir := range dirs { // nothing is measured before all of them can be
		if _, err := shapesOnly(dir); err != nil {
			return nil, err
		}
	}
	var list []*alphalora.Analysis
	for _, dir := range dirs {
		analysis, err := a.analyze(ctx, dir, how)
		if err != nil {
			return nil, err
		}
		list = append(list, analysis)
	}
	return list, nil
}

// analyze measures the model in dir, one matrix for each worker at a time.
func (a *app) analyze(ctx context.Context, dir string, how spectral) (*alphalora.Analysis, error) {
	opts, err := a.spectralOptions(ctx, how)
	if err != nil {
		return nil, err
	}
	set, err := weights.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = set.Close() }()
	matrices, err := projections(dir, set)
	if err != nil {
		return nil, err
	}
	return a.measure(ctx, dir, matrices, opts)
}

// measure analyses matrices of any origin and shows how far it is.
func (a *app) measure(ctx context.Context, name string, matrices []alphalora.Matrix, opts alphalora.Options) (*alphalora.Analysis, error) {
	a.say("spectra: %s, estimator %s, %s", opts.Solver.Name, opts.Estimator.Name, opts.Begins())
	bar := a.progress(len(matrices), "spectra")
	opts.Progress = func(p alphalora.Progress) {
		note := p.Name
		if p.Left > 0 {
			note += fmt.Sprintf(", %s left", p.Left.Round(time.Second))
		}
		bar.Add(1, note)
	}
	analysis, err := alphalora.Analyze(ctx, name, matrices, opts)
	broke := engine.Broke(err)
	if (broke || err != nil && ctx.Err() != nil) && opts.Cache != nil {
		a.say("spectra: the eigenvalues found so far are kept; the same call goes on from there")
	}
	if broke {
		return nil, fmt.Errorf("%w (%s, or compute on the cores with --products cores)", err, engine.Remedy(err))
	}
	if err != nil {
		return nil, err
	}
	bar.Done()
	return analysis, nil
}

// spectralOptions turns flags into options.
func (a *app) spectralOptions(ctx context.Context, how spectral) (opts alphalora.Options, err error) {
	if opts.Estimator, err = alphalora.EstimatorNamed(how.estimator); err != nil {
		return opts, err
	}
	if opts.Precision, err = alphalora.ParsePrecision(how.precision); err != nil {
		return opts, err
	}
	if opts.Solver, err = a.spectralSolver(ctx, how); err != nil {
		return opts, err
	}
	opts.Cache, err = a.spectralCache(how.cache)
	return opts, err
}

func (a *app) spectralSolver(ctx context.Context, how spectral) (alphalora.Solver, error) {
	if err := ctx.Err(); err != nil {
		return alphalora.Solver{}, err
	}
	switch how.solver {
	case "", "two-stage":
	case "gonum":
		return alphalora.Gonum(), nil
	default:
		return alphalora.Solver{}, fault.Input(fmt.Sprintf("--solver %q", how.solver), "use two-stage or gonum", "there is no such solver")
	}
	onEngine := false
	switch how.products {
	case "", "auto":
		onEngine = strings.HasPrefix(a.backend, engine.CUDA) || a.backend == "" && engine.GPUPresent()
	case "engine":
		onEngine = true
	case "cores":
	default:
		return alphalora.Solver{}, fault.Input(fmt.Sprintf("--products %q", how.products), "use auto, cores or engine", "there is no such place")
	}
	if !onEngine {
		return alphalora.TwoStage(), nil
	}
	e, err := a.engine(ctx)
	if err != nil {
		return alphalora.Solver{}, err
	}
	return alphalora.OnEngine(e)
}

// spectralCache opens the cache in dir, or in the user's cache directory. "none" is none, and so is,
// with a word, a user's directory that is not there or cannot be made.
func (a *app) spectralCache(dir string) (*alphalora.Cache, error) {
	if dir == "none" {
		return nil, nil
	}
	var cache *alphalora.Cache
	var err error
	if dir != "" {
		if cache, err = alphalora.OpenCache(dir); err != nil {
			return nil, err
		}
	} else if cache, err = userCache(); err != nil {
		a.say("eigenvalues are not kept: %v", err)
		return nil, nil
	}
	cache.Warn = func(message string) { a.say("cache: %s", message) }
	return cache, nil
}

func userCache() (*alphalora.Cache, error) {
	user, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("%w (name a directory with --cache)", err)
	}
	return alphalora.OpenCache(filepath.Join(user, "alphalora", "spectra"))
}

// printAnalysis prints the layers' means as a table, and the warnings.
func printAnalysis(w io.Writer, analysis *alphalora.Analysis) error {
	_, _ = fmt.Fprintf(w, "%s, estimator %s\n", analysis.Model, analysis.Estimator)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprint(table, "layer\t")
	for _, metric := range alphalora.Metrics() {
		_, _ = fmt.Fprintf(table, "%s\t", metric.Name)
	}
	_, _ = fmt.Fprintln(table)
	for _, layer := range analysis.Layers {
		_, _ = fmt.Fprintf(table, "%d\t", layer.Layer)
		for _, metric := range alphalora.Metrics() {
			text := "none"
			if v := layer.Metrics[metric.Name]; v.Known() {
				text = fmt.Sprintf("%.4g", float64(v))
			}
			_, _ = fmt.Fprintf(table, "%s\t", text)
		}
		_, _ = fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("the table was not printed: %w", err)
	}
	for _, warning := range analysis.Warnings() {
		_, _ = fmt.Fprintln(w, "warning:", warning)
	}
	return nil
}
