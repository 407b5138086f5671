package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"alphalora/alphalora"
	"alphalora/internal/atomicfile"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/weights"
)

// spectral holds the flags that say how spectra are measured.
type spectral struct {
	estimator, precision string
}

func addSpectral(cmd *cobra.Command) *spectral {
	var names []string
	for _, e := range alphalora.Estimators() {
		names = append(names, e.Name)
	}
	s := &spectral{}
	cmd.Flags().StringVar(&s.estimator, "estimator", names[0], "how the tail is found: "+strings.Join(names, ", "))
	cmd.Flags().StringVar(&s.precision, "precision", "f64", "of the product WᵀW: f32 or f64")
	return s
}

func analyzeCommand(a *app) *cobra.Command {
	long := "analyze measures the spectrum of each of the seven projections of every layer, fits a\n" +
		"power law to its tail, and gives the mean of each layer. A matrix whose spectrum has no\n" +
		"tail gets a warning and is left out of its layer's mean.\n\nEstimators:\n"
	for _, e := range alphalora.Estimators() {
		long += fmt.Sprintf("  %-14s %s\n", e.Name, e.Doc)
	}
	cmd := &cobra.Command{
		Use:     "analyze MODEL",
		Short:   "measure how well each layer of a model was trained",
		Long:    strings.TrimSuffix(long, "\n"),
		Args:    cobra.ExactArgs(1),
		Example: "  alphalora analyze models/mistral-7b --json spectrum.json",
	}
	how := addSpectral(cmd)
	jsonPath := addJSON(cmd)
	csvPath := cmd.Flags().String("csv", "", "write one line for each matrix as CSV to `FILE`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		analysis, err := a.analyze(cmd.Context(), args[0], *how)
		if err != nil {
			return err
		}
		if *csvPath != "" {
			if err := atomicfile.Write(*csvPath, analysis.WriteCSV); err != nil {
				return err
			}
		}
		if err := printAnalysis(a.text(*jsonPath), analysis); err != nil {
			return err
		}
		return a.writeJSON(*jsonPath, analysis)
	}
	return cmd
}

// analyze measures the model in dir, one matrix for each worker at a time.
func (a *app) analyze(ctx context.Context, dir string, how spectral) (*alphalora.Analysis, error) {
	estimator, err := alphalora.EstimatorNamed(how.estimator)
	if err != nil {
		return nil, err
	}
	solver, err := alphalora.SolverOf(how.precision)
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
	bar := a.progress(len(matrices), "spectra")
	analysis, err := alphalora.Analyze(ctx, dir, matrices, alphalora.Options{
		Estimator: estimator, Solver: solver,
		Progress: func(_, _ int, name string) { bar.Add(1, name) },
	})
	if err != nil {
		return nil, err
	}
	bar.Done()
	return analysis, nil
}

// projections lists the seven projections of every layer of the model in dir, to be
// read from set when their turn comes.
func projections(dir string, set *weights.Set) ([]alphalora.Matrix, error) {
	layers := 0
	for _, name := range set.Names() {
		var layer int
		if n, _ := fmt.Sscanf(name, "model.layers.%d.", &layer); n == 1 {
			layers = max(layers, layer+1)
		}
	}
	if layers == 0 {
		return nil, fault.Input(dir, "analyze reads decoders of the Llama kind in Hugging Face layout",
			"no tensor is named like %s; found %s", model.Q.WeightName(0), someOf(set.Names()))
	}
	var matrices []alphalora.Matrix
	for layer := range layers {
		for _, site := range model.Sites() {
			name := site.WeightName(layer)
			t, ok := set.Get(name)
			if !ok {
				return nil, fault.Input(dir, "analyze needs the seven projections of every layer",
					"%s is missing; found %s", name, someOf(set.Names()))
			}
			if len(t.Shape) != 2 || t.Shape[0] < 1 || t.Shape[1] < 1 {
				return nil, fault.Input(dir, "", "%s has shape %v; a projection has two dimensions", name, t.Shape)
			}
			matrices = append(matrices, alphalora.Matrix{
				Name: name, Layer: layer, Site: site.String(), Rows: t.Shape[0], Cols: t.Shape[1], Values: t.Float32s,
			})
		}
	}
	return matrices, nil
}

// someOf names a few of names and counts them.
func someOf(names []string) string {
	const few = 4
	if len(names) <= few {
		return fmt.Sprintf("%d tensors: %s", len(names), strings.Join(names, ", "))
	}
	return fmt.Sprintf("%d tensors: %s, ...", len(names), strings.Join(names[:few], ", "))
}

// printAnalysis prints the layers' means as a table, and the warnings.
func printAnalysis(w io.Writer, analysis *alphalora.Analysis) error {
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
