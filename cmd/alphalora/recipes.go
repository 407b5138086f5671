package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"alphalora/alphalora"
	"alphalora/configs"
	"alphalora/configs/recipes"
	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/internal/seedling"
	"alphalora/model"
	"alphalora/model/quant"
	"alphalora/train"
)

func recipesCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "recipes [NAME]",
		Short: "list ready-made configurations, or print one",
		Long: `recipes lists the runs that are ready-made: the paper's setting for Llama-2-7B, Mistral-7B and
Gemma-7B on its seven tasks, the same for cards of 24 GB, and runs of the model that the
program carries. With NAME it prints one as a complete file for train, its commands and an
estimate of its memory in comments at its head.`,
		Args:    cobra.MaximumNArgs(1),
		Example: "  alphalora recipes mistral-7b-openbookqa > run.yaml",
	}
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return listRecipes(a.stdout)
		}
		r, err := recipes.Named(args[0])
		if err != nil {
			return err
		}
		text, err := recipeFile(r)
		if err != nil {
			return err
		}
		_, err = a.stdout.Write(text)
		return err
	}
	return cmd
}

func listRecipes(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range recipes.All() {
		run, need, err := recipeNeed(r)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%d experts\tabout %s\n", r.Name, r.About, run.Allocation.Experts, inGB(need.Total()))
	}
	return t.Flush()
}

// recipeFile is a recipe as a complete configuration, with its commands as comments.
func recipeFile(r recipes.Recipe) ([]byte, error) {
	run, need, err := recipeNeed(r)
	if err != nil {
		return nil, err
	}
	yaml, err := run.YAML()
	if err != nil {
		return nil, err
	}
	var head strings.Builder
	_, _ = fmt.Fprintf(&head, "# %s: %s.\n#\n", r.Name, r.About)
	for _, command := range recipeCommands(r) {
		_, _ = fmt.Fprintf(&head, "#   %s\n", command)
	}
	_, _ = fmt.Fprintf(&head, "#\n# Memory: about %s, by formula (docs/training.md), not measured; in GB: %s.\n", inGB(need.Total()), need.Parts())
	if r.Shape != "" {
		_, _ = fmt.Fprintf(&head, "# The weights belong in %s; nothing fetches them.\n", run.Model)
	}
	return append([]byte(head.String()), yaml...), nil
}

// recipeCommands are the commands that run a recipe, in their order.
func recipeCommands(r recipes.Recipe) []string {
	list := append([]string{}, r.Before...)
	list = append(list, "alphalora recipes "+r.Name+" > run.yaml", "alphalora train --config run.yaml")
	return append(list, r.After...)
}

// recipeNeed decodes a recipe and estimates the memory that its training needs.
func recipeNeed(r recipes.Recipe) (run configs.Run, need train.Memory, err error) {
	if run, err = r.Run(); err != nil {
		return run, need, err
	}
	config, backend := seedling.Config(), engine.CPU
	if r.Shape != "" {
		backend = engine.CUDA
		if config, _, err = benchShape(r.Shape); err != nil {
			return run, need, err
		}
	}
	d, err := model.ParseDescription(r.Name, []byte(config))
	if err != nil {
		return run, need, err
	}
	need, err = needOf(run, d, backend)
	return run, need, err
}

// needOf is the estimate for a micro-batch of full rows. The number of an adapter's
// parameters depends on how many experts there are in all, hardly on where they are.
func needOf(run configs.Run, d model.Description, backend string) (need train.Memory, err error) {
	experts, err := alphalora.Allocate(alphalora.Request{Strategy: "uniform", Layers: d.Layers, Total: run.Allocation.Experts, Rounding: "largest-remainder"})
	if err != nil {
		return need, err
	}
	shape, err := adapterShape(run.Adapter, experts.Experts)
	if err != nil {
		return need, err
	}
	if shape.Kind.Single {
		return need, fault.Input("adapter.kind "+shape.Kind.Name, "name a kind that mixes experts", "has no estimate")
	}
	t := run.Training
	stored, err := quant.Parse(run.ModelQuant)
	if err != nil {
		return train.Memory{}, err
	}
	return train.Estimate(d, &shape, train.Size{DType: t.DType, Stored: stored, Backend: backend,
		Rows: t.MicroBatch, Length: run.Data.Cutoff, Recompute: t.GradientCheckpointing, Flash: t.Attention == configs.FlashAttention}), nil
}

func inGB(bytes int64) string { return fmt.Sprintf("%.1f GB", float64(bytes)/1e9) }
