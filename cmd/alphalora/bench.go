package main

import "github.com/spf13/cobra"

func benchCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "bench",
		Short:   "measure how fast this machine does the work",
		Example: "  alphalora bench analyze --shape mistral-7b --layers 1",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Args:    cobra.NoArgs,
	}
	cmd.AddCommand(started(a, benchAnalyzeCommand(a)))
	return cmd
}
