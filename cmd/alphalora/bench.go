package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"alphalora/internal/fault"
)

func benchCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "bench",
		Short:   "measure the speed of this machine at the program's work",
		Example: "  alphalora bench generate --json generate.json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(started(a, benchTrainCommand(a)), started(a, benchGenerateCommand(a)), started(a, benchLoadCommand(a)),
		started(a, benchDataCommand(a)), started(a, benchAnalyzeCommand(a)), started(a, benchEvaluateCommand(a)), started(a, benchServeCommand(a)))
	return cmd
}

// median runs work once unseen, then runs times, and returns the middle duration.
func median(runs int, work func() error) (time.Duration, error) {
	if err := work(); err != nil {
		return 0, err
	}
	times := make([]time.Duration, runs)
	for i := range times {
		start := time.Now()
		if err := work(); err != nil {
			return 0, err
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	return times[runs/2], nil
}

// inRange refuses a flag's value outside of [low, high].
func inRange(flag string, value, low, high int) error {
	if value < low || value > high {
		return fault.Input(fmt.Sprintf("--%s %d", flag, value), fmt.Sprintf("use %d to %d", low, high), "is out of range")
	}
	return nil
}
