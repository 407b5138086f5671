package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/configs"
	"alphalora/configs/recipes"
	"alphalora/eval/benchmark"
	"alphalora/internal/fault"
)

// TestRecipes prints every recipe, reads it back as train would, holds it against the
// paper's setting and its card, and counts them.
func TestRecipes(t *testing.T) {
	count := map[string]int{}
	outputs := map[string]bool{}
	for _, r := range recipes.All() {
		stdout, stderr, status := call(t, "recipes", r.Name)
		require.Zero(t, status, stderr)
		run, err := configs.Parse(r.Name, []byte(stdout), nil)
		require.NoError(t, err)
		again, err := run.YAML()
		require.NoError(t, err)
		require.True(t, strings.HasSuffix(stdout, "\n"+string(again)), "%s: what is printed reads as itself", r.Name)
		require.False(t, outputs[run.Output], run.Output)
		outputs[run.Output] = true
		_, need, err := recipeNeed(r)
		require.NoError(t, err)
		require.Contains(t, stdout, "Memory: about "+inGB(need.Total()))
		kind := "seedling"
		if r.Shape != "" {
			kind = "paper"
			a, tr := run.Adapter, run.Training
			require.Equal(t, []float64{8, 16, 2.5, 3e-4}, []float64{float64(a.R), a.Alpha, run.Allocation.Beta, tr.LearningRate}, r.Name)
			require.Equal(t, []int{20, 128, 256}, []int{tr.Epochs, tr.Batch, run.Data.Cutoff}, r.Name)
			require.Equal(t, "models/"+r.Shape, run.Model)
			if strings.HasSuffix(r.Name, "-24gb") {
				kind = "24gb"
				require.Less(t, float64(need.Total()), 0.9*24e9, r.Name)
			} else {
				require.Equal(t, []int{160, 8}, []int{run.Allocation.Experts, tr.MicroBatch}, r.Name)
				require.Less(t, float64(need.Total()), 0.9*80e9, r.Name)
			}
		}
		count[kind]++
	}
	require.Equal(t, map[string]int{"paper": 3 * 7, "24gb": 3 * 7, "seedling": 3}, count)
}

// TestRecipesCommandsParse gives every command in the comments of every recipe to the
// program's own flags, up to the verb's work.
func TestRecipesCommandsParse(t *testing.T) {
	parsed := 0
	for _, r := range recipes.All() {
		stdout, _, _ := call(t, "recipes", r.Name)
		for line := range strings.Lines(stdout) {
			command, ok := strings.CutPrefix(strings.TrimSpace(line), "#   ")
			if !ok || strings.HasPrefix(command, "jq ") {
				continue
			}
			command, _, _ = strings.Cut(command, " >")
			args := strings.Fields(strings.ReplaceAll(command, "'Below is an instruction'", "Below"))
			require.Equal(t, "alphalora", args[0], command)
			cmd, rest, err := rootCommand(newApp(nil, nil)).Find(args[1:])
			require.NoError(t, err, command)
			require.NoError(t, cmd.ParseFlags(rest), command)
			require.NoError(t, cmd.ValidateRequiredFlags(), command)
			require.NoError(t, cmd.ValidateArgs(cmd.Flags().Args()), command)
			if names := flagValue(rest, "--benchmark"); names != "" {
				for name := range strings.SplitSeq(names, ",") {
					_, err := benchmark.Find(name)
					require.NoError(t, err, command)
				}
			}
			parsed++
		}
	}
	require.Equal(t, 4*len(recipes.All())-2*3, parsed, "four each, where the math setting's jq does not count")
}

// flagValue is what follows a flag in a call.
func flagValue(args []string, flag string) string {
	for i := range len(args) - 1 {
		if args[i] == flag {
			return args[i+1]
		}
	}
	return ""
}

func TestRecipesAreListedOrRefused(t *testing.T) {
	stdout, _, status := call(t, "recipes")
	require.Zero(t, status)
	require.Len(t, strings.Split(strings.TrimSpace(stdout), "\n"), len(recipes.All()))
	_, stderr, status := call(t, "recipes", "llama-3")
	require.Equal(t, fault.StatusBad, status)
	require.Contains(t, stderr, "mistral-7b-openbookqa")
}

// TestTheEstimateCountsWhatThePaperCounts holds the adapter's part against the published
// number of trainable parameters.
func TestTheEstimateCountsWhatThePaperCounts(t *testing.T) {
	r, err := recipes.Named("llama-2-7b-mrpc")
	require.NoError(t, err)
	_, need, err := recipeNeed(r)
	require.NoError(t, err)
	require.Equal(t, int64(5*4*105635840), need.Trained, "the published 160 experts have 105,635,840 parameters")
}
