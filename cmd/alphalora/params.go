package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"alphalora/alphalora"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/moelora"
)

func paramsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "params MODEL (--allocation F | --per-layer N,...)",
		Short:   "count what an adapter would train and what stays frozen",
		Args:    cobra.ExactArgs(1),
		Example: "  alphalora params models/mistral-7b --allocation allocation.json",
	}
	jsonPath := addJSON(cmd)
	file := cmd.Flags().String("allocation", "", "`FILE` that allocate --json wrote")
	perLayer := cmd.Flags().IntSlice("per-layer", nil, "experts of each layer")
	r := cmd.Flags().Int("r", 8, "rank of each expert")
	cmd.MarkFlagsMutuallyExclusive("allocation", "per-layer")
	cmd.MarkFlagsOneRequired("allocation", "per-layer")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		d, err := model.ReadDescription(args[0])
		if err != nil {
			return err
		}
		experts := *perLayer
		if *file != "" {
			if experts, err = readAllocation(*file); err != nil {
				return err
			}
		}
		shape := moelora.Shape{Rank: *r, Alpha: 1, Experts: experts, TopK: moelora.DefaultTopK(experts), Targets: model.Sites()}
		if err := shape.Check(d); err != nil {
			return err
		}
		counts := moelora.Count(d, shape)
		if err := printSites(a.text(*jsonPath), counts); err != nil {
			return err
		}
		return a.writeJSON(*jsonPath, counts)
	}
	return cmd
}

// readAllocation reads the expert counts of an allocation's JSON.
func readAllocation(path string) ([]int, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Input(path, "name a file that allocate --json wrote", "cannot be read: %v", fault.Reason(err))
	}
	var allocation alphalora.Allocation
	if err := json.Unmarshal(content, &allocation); err != nil || len(allocation.Experts) == 0 {
		return nil, fault.Input(path, "name a file that allocate --json wrote", "holds no list of experts")
	}
	return allocation.Experts, nil
}

// printSites prints a line a projection, and the sums.
func printSites(w io.Writer, c moelora.Counts) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "layer\tprojection\texperts\ttrainable\tfrozen\tadapter bytes (f32)\t")
	for _, s := range c.Sites {
		_, _ = fmt.Fprintf(t, "%d\t%s\t%d\t%d\t%d\t%d\t\n", s.Layer, s.Site, s.Experts, s.Trainable, s.Frozen, 4*s.Trainable)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return printSum(w, c)
}

func printSum(w io.Writer, c moelora.Counts) error {
	_, err := fmt.Fprintf(w, "trainable %d (%.2f %% of all), frozen %d\n", c.Trainable, 100*float64(c.Trainable)/float64(c.Trainable+c.Frozen), c.Frozen)
	return err
}

// printLayers prints a line a layer, and the sums.
func printLayers(w io.Writer, c moelora.Counts) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "layer\texperts\ttrainable\tfrozen projections\t")
	for i := 0; i < len(c.Sites); {
		row := moelora.SiteCount{Layer: c.Sites[i].Layer}
		for ; i < len(c.Sites) && c.Sites[i].Layer == row.Layer; i++ {
			row.Experts = max(row.Experts, c.Sites[i].Experts)
			row.Trainable += c.Sites[i].Trainable
			row.Frozen += c.Sites[i].Frozen
		}
		_, _ = fmt.Fprintf(t, "%d\t%d\t%d\t%d\t\n", row.Layer, row.Experts, row.Trainable, row.Frozen)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return printSum(w, c)
}
