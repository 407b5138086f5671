package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"alphalora/configs"
	"alphalora/eval"
	"alphalora/eval/benchmark"
	"alphalora/internal/atomicfile"
	"alphalora/internal/fault"
	"alphalora/internal/report"
	"alphalora/internal/seedling"
	"alphalora/model"
	"alphalora/moelora"
)

// demonstrated is the JSON of the verb demo.
type demonstrated struct {
	Engine  string     `json:"engine"`
	Experts []int      `json:"experts"`
	Tasks   []demoTask `json:"tasks"`
	Before  float64    `json:"before"` // mean over tasks
	After   float64    `json:"after"`
	Seconds float64    `json:"seconds"`
}

type demoTask struct {
	Name      string     `json:"name"`
	Items     int        `json:"items"`
	Before    float64    `json:"before"` // the better of the two below
	Generated float64    `json:"before_generated"`
	Likeliest float64    `json:"before_likelihood"`
	After     float64    `json:"after"`
	CI95      [2]float64 `json:"after_ci95"`
	Chance    float64    `json:"majority"`
	Learnable bool       `json:"learnable"` // false: kept as one that this base cannot learn
}

const demoHelp = `demo does the whole job on the small model that the program carries, and on tasks that it
makes: measure the layers, share out experts, answer held-out items with the base, fine-tune,
answer them again, and write a table and report.html. Every figure is measured in the run.

The base is asked in two ways, and the better one counts as before: what it writes, and which
of the possible answers it finds likeliest. So following the format alone wins nothing.`

func demoCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "do the whole job on the small model that is part of the program",
		Long:    demoHelp,
		Args:    cobra.NoArgs,
		Example: "  alphalora demo --out runs/demo",
	}
	jsonPath := addJSON(cmd)
	out := cmd.Flags().String("out", "demo", "`DIR` to write")
	stored := &quantisation{}
	addQuantisation(cmd.Flags(), stored)
	dtype := cmd.Flags().String("dtype", "float32", "number format of the base: float32 or bfloat16")
	limit := cmd.Flags().Int("items", 0, "evaluate only the first items of each task (0: all)")
	steps := cmd.Flags().Int("steps", demoSteps, "optimiser steps of the fine-tuning")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *limit < 0 || *steps < 1 {
			return fault.Input("the call", "see alphalora demo --help", "--items must be 0 or more, --steps 1 or more")
		}
		d := &demo{app: a, out: *out, limit: *limit, steps: *steps, dtype: *dtype, quant: *stored, start: time.Now()}
		result, err := d.run(cmd.Context())
		if err != nil {
			return err
		}
		if err := result.print(a.text(*jsonPath)); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(a.text(*jsonPath), "report: %s\n", filepath.Join(*out, "report.html"))
		return a.writeJSON(*jsonPath, result)
	}
	return cmd
}

// Settings of the demo's fine-tuning; docs/seedling.md tells what comes out.
const (
	demoSteps        = 620
	demoBatch        = 32
	demoRate         = 5e-3
	expertsPerLayer  = 5
	demoEvalBatch    = 40
	demoMaxNewTokens = 16
)

// demo is one run of the whole job.
type demo struct {
	app   *app
	out   string
	limit int
	steps int
	dtype string
	quant quantisation
	start time.Time
	tasks []seedling.Task
	items []question
}

func (d *demo) path(parts ...string) string {
	return filepath.Join(append([]string{d.out}, parts...)...)
}

func (d *demo) run(ctx context.Context) (*demonstrated, error) {
	if err := d.write(); err != nil {
		return nil, err
	}
	result := &demonstrated{}
	base := &subject{model: d.path("base"), dtype: d.dtype, batch: demoEvalBatch, quant: d.quant}
	if err := d.before(ctx, base, result); err != nil {
		return nil, err
	}
	r, metrics, err := d.tune(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	result.Engine, result.Experts = r.model.Engine.Name, r.adapter.Experts
	tuned := *base
	tuned.adapter = d.path("run", "adapter")
	if err := d.after(ctx, &tuned, result); err != nil {
		return nil, err
	}
	for _, t := range result.Tasks {
		result.Before += t.Before / float64(len(result.Tasks))
		result.After += t.After / float64(len(result.Tasks))
	}
	result.Seconds = time.Since(d.start).Seconds()
	return result, d.report(r, metrics, result)
}

// write lays out the base model and the tasks' files.
func (d *demo) write() error {
	if err := seedling.WriteBase(d.path("base")); err != nil {
		return fault.Input("--out "+d.out, "choose a directory that can be written", "%v", err)
	}
	d.tasks = seedling.NewWorld().Tasks()
	var all []seedling.Record
	for _, t := range d.tasks {
		dir := d.path("tasks", t.Name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		own := benchmark.Own{Format: string(t.Format)}
		if t.Format == seedling.Label {
			own.Labels = t.Answers
		}
		if err := errorsOf(writeRecords(filepath.Join(dir, "train.json"), t.Train), writeRecords(filepath.Join(dir, "test.json"), t.Test),
			d.app.writeJSON(filepath.Join(dir, benchmark.OwnFile), own)); err != nil {
			return err
		}
		all = append(all, t.Train...)
		q, err := d.question(t)
		if err != nil {
			return err
		}
		d.items = append(d.items, q)
	}
	return writeRecords(d.path("train.json"), all)
}

func errorsOf(list ...error) error {
	for _, err := range list {
		if err != nil {
			return err
		}
	}
	return nil
}

func writeRecords(path string, records []seedling.Record) error {
	return atomicfile.Write(path, func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", " ")
		return encoder.Encode(records)
	})
}

// question reads a task back through the benchmark reader. A number task has no options
// of its own: its likelihood choice is among every number that the task can have.
func (d *demo) question(t seedling.Task) (question, error) {
	b, err := benchmark.FindIn(d.path("tasks"), t.Name)
	if err != nil {
		return question{}, err
	}
	items, err := b.Load(d.path("tasks"), "test")
	if err != nil {
		return question{}, err
	}
	if t.Format == seedling.Number {
		for i := range items {
			items[i].Choices, items[i].Candidates = t.Answers, t.Outputs()
		}
	}
	if d.limit > 0 && d.limit < len(items) {
		items = items[:d.limit]
	}
	return question{b, items}, nil
}

// before asks the base in both ways.
func (d *demo) before(ctx context.Context, base *subject, result *demonstrated) error {
	l, err := d.app.load(ctx, base)
	if err != nil {
		return err
	}
	defer l.close()
	generated, err := d.generate(ctx, l, "base")
	if err != nil {
		return err
	}
	local, err := l.local()
	if err != nil {
		return err
	}
	bar := d.app.progress(len(d.items), "base, likelihood")
	for i, q := range d.items {
		likely, _, err := eval.RunLikelihood(ctx, local, q.items, q.Benchmark, eval.Options{Split: "test", Batch: demoEvalBatch})
		if err != nil {
			return err
		}
		bar.Add(1, q.Name)
		t := demoTask{Name: q.Name, Items: len(q.items), Generated: generated[i].Accuracy, Likeliest: likely.Accuracy,
			Before: max(generated[i].Accuracy, likely.Accuracy), Learnable: !d.tasks[i].Impossible}
		if m := generated[i].Majority; m != nil {
			t.Chance = *m
		}
		result.Tasks = append(result.Tasks, t)
	}
	bar.Done()
	return nil
}

// generate has a model write its answers to every task.
func (d *demo) generate(ctx context.Context, l *loaded, who string) ([]eval.Result, error) {
	local, err := l.local()
	if err != nil {
		return nil, err
	}
	var results []eval.Result
	bar := d.app.progress(len(d.items), who+", written answers")
	for _, q := range d.items {
		r, err := eval.Run(ctx, local, q.items, q.Benchmark, eval.Options{Split: "test", Batch: demoEvalBatch, MaxNewTokens: demoMaxNewTokens})
		if err != nil {
			return nil, err
		}
		bar.Add(1, q.Name)
		results = append(results, r)
	}
	bar.Done()
	return results, eval.WriteSamples(d.path(who+"-samples.jsonl"), results)
}

// tune is an ordinary run of train.
func (d *demo) tune(ctx context.Context) (*prepared, *curves, error) {
	shape, err := model.ReadDescription(d.path("base"))
	if err != nil {
		return nil, nil, err
	}
	run := configs.Defaults()
	run.Model, run.Output = d.path("base"), d.path("run")
	run.ModelQuant, run.QuantCache = d.quant.kind, d.quant.cache
	run.Data.Train, run.Data.Cutoff, run.Data.TrainOnInputs = []string{d.path("train.json")}, 128, false
	run.Data.GroupByLength = false // the tasks differ in length: every step is to see all of them
	t := &run.Training
	t.Steps, t.Batch, t.MicroBatch, t.LearningRate, t.WarmupSteps = d.steps, demoBatch, demoBatch, demoRate, min(20, d.steps)
	t.DType, t.GradientCheckpointing, t.CheckpointEvery = d.dtype, false, 0
	run.Adapter.Dropout, run.Adapter.Balance = 0, 0.001
	run.Allocation.Experts = expertsPerLayer * shape.Layers
	return d.app.trainIn(ctx, run, entering{overwrite: true}, io.Discard)
}

// after asks the tuned model, its adapter read back from the disk.
func (d *demo) after(ctx context.Context, tuned *subject, result *demonstrated) error {
	l, err := d.app.load(ctx, tuned)
	if err != nil {
		return err
	}
	defer l.close()
	results, err := d.generate(ctx, l, "tuned")
	if err != nil {
		return err
	}
	for i, r := range results {
		result.Tasks[i].After, result.Tasks[i].CI95 = r.Accuracy, r.CI95
	}
	return nil
}

func (r *demonstrated) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "task\titems\tmajority\tbase written\tbase likeliest\ttuned\t95 % interval\t")
	for _, row := range r.Tasks {
		name := row.Name
		if !row.Learnable {
			name += " (not learnable)"
		}
		_, _ = fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s to %s\t\n", name, row.Items, percent(row.Chance),
			percent(row.Generated), percent(row.Likeliest), percent(row.After), percent(row.CI95[0]), percent(row.CI95[1]))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "mean: base %s (the better way of each task), tuned %s\nexperts per layer: %v, engine %s, %.0f s\n",
		percent(r.Before), percent(r.After), r.Experts, r.Engine, r.Seconds)
	return err
}

// report writes the demo's page.
func (d *demo) report(r *prepared, metrics *curves, result *demonstrated) error {
	chart := report.GroupedBarChart{Title: "Accuracy before and after", XLabel: "task", YLabel: "accuracy", Percent: true,
		Groups: []report.Group{{Name: "base"}, {Name: "tuned"}}}
	table := report.Table{Caption: "Accuracy on held-out items", Columns: []string{"task", "items", "majority", "base, written", "base, likeliest", "tuned"}}
	for _, t := range result.Tasks {
		chart.Labels = append(chart.Labels, t.Name)
		chart.Groups[0].Values = append(chart.Groups[0].Values, t.Before)
		chart.Groups[1].Values = append(chart.Groups[1].Values, t.After)
		table.Rows = append(table.Rows, []string{t.Name, fmt.Sprint(t.Items), percent(t.Chance), percent(t.Generated), percent(t.Likeliest),
			fmt.Sprintf("%s [%.1f, %.1f]", percent(t.After), 100*t.CI95[0], 100*t.CI95[1])})
	}
	drawn := report.GroupedBars(chart)
	text := "Before is the better of what the base writes and of the possible answer that it finds likeliest. Intervals are 95 % Wilson intervals."
	if hard := d.unlearnable(); hard != "" {
		text += " " + hard + " is kept as a task that this base cannot learn."
	}
	page := report.Page{Title: "AlphaLoRA demo", Subtitle: "The whole job on the small model that the program carries"}
	page.Facts = []report.Fact{
		{Label: "Mean accuracy before", Value: percent(result.Before)}, {Label: "Mean accuracy after", Value: percent(result.After)},
		{Label: "Engine", Value: result.Engine}, {Label: "Seconds", Value: fmt.Sprintf("%.0f", result.Seconds)},
		{Label: "Trainable parameters", Value: fmt.Sprint(moelora.Count(r.model.Description, r.adapter.Shape).Trainable)},
	}
	page.Sections = append(append(r.shapeSections(), courseSections(metrics)...), report.Section{Heading: "Accuracy", Text: text, Chart: &drawn, Table: &table})
	return report.Write(d.path("report.html"), page)
}

func (d *demo) unlearnable() string {
	var names []string
	for _, t := range d.tasks {
		if t.Impossible {
			names = append(names, t.Name)
		}
	}
	return strings.Join(names, ", ")
}
