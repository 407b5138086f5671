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
	"alphalora/internal/fault"
	"alphalora/internal/seedling"
	"alphalora/model"
	"alphalora/moelora"
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
		_, _ = fmt.Fprintf(t, "%s\t%s\t%d experts\tabout %s\n", r.Name, r.About, run.Allocation.Experts, inGB(need.total()))
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
	_, _ = fmt.Fprintf(&head, "#\n# Memory: about %s, by formula (docs/watching.md), not measured: %s.\n", inGB(need.total()), need)
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
func recipeNeed(r recipes.Recipe) (run configs.Run, need trainingNeed, err error) {
	if run, err = r.Run(); err != nil {
		return run, need, err
	}
	config := seedling.Config()
	if r.Shape != "" {
		if config, _, err = benchShape(r.Shape); err != nil {
			return run, need, err
		}
	}
	d, err := model.ParseDescription(r.Name, []byte(config))
	if err != nil {
		return run, need, err
	}
	need, err = needOf(run, d)
	return run, need, err
}

// trainingNeed is an estimate in bytes of what a training step holds at most; see
// docs/watching.md for the formula.
type trainingNeed struct{ base, adapter, activations, logits float64 }

func (n trainingNeed) total() float64 { return n.base + n.adapter + n.activations + n.logits }

func (n trainingNeed) String() string {
	return fmt.Sprintf("base %s, adapter with its gradients and AdamW's moments %s, activations %s, scores of the vocabulary %s",
		inGB(n.base), inGB(n.adapter), inGB(n.activations), inGB(n.logits))
}

// needOf is the estimate for a micro-batch of full rows. The number of an adapter's
// parameters depends on how many experts there are in all, hardly on where they are.
func needOf(run configs.Run, d model.Description) (trainingNeed, error) {
	kind, err := moelora.KindNamed(run.Adapter.Kind)
	if err != nil {
		return trainingNeed{}, err
	}
	experts, err := alphalora.Allocate(alphalora.Request{Strategy: "uniform", Layers: d.Layers, Total: run.Allocation.Experts, Rounding: "largest-remainder"})
	if err != nil {
		return trainingNeed{}, err
	}
	if kind.Single {
		return trainingNeed{}, fault.Input("adapter.kind "+kind.Name, "name a kind that mixes experts", "has no estimate")
	}
	counts := moelora.Count(d, moelora.Shape{Kind: kind, Rank: run.Adapter.R, Alpha: run.Adapter.Alpha,
		Experts: experts.Experts, TopK: kind.TopK(experts.Experts), Targets: model.Sites()})
	width := 2.0
	if run.Training.DType == "float32" {
		width = 4
	}
	rows, length, layers := float64(run.Training.MicroBatch), float64(run.Data.Cutoff), float64(d.Layers)
	tokens := rows * length
	inside := 4*tokens*float64(10*d.Hidden+6*d.Intermediate) + 3*4*rows*float64(d.Heads)*length*length
	kept := 1.0 // layers whose inside is held at once
	if !run.Training.GradientCheckpointing {
		kept = layers
	}
	return trainingNeed{
		base:        width * float64(counts.Frozen),
		adapter:     8 * 4 * float64(counts.Trainable),
		activations: width*layers*tokens*float64(d.Hidden) + kept*inside,
		logits:      3 * 4 * tokens * float64(d.Vocabulary),
	}, nil
}

func inGB(bytes float64) string { return fmt.Sprintf("%.1f GB", bytes/1e9) }
