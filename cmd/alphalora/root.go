package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
)

// verbs lists every verb of the program, in the order of the help. To add one, write
// its file and its line here.
var verbs = []func(*app) *cobra.Command{
	analyzeCommand,
	allocateCommand,
	paramsCommand,
	recipesCommand,
	trainCommand,
	scoreCommand,
	generateCommand,
	chatCommand,
	serveCommand,
	evalCommand,
	routesCommand,
	mergeCommand,
	exportCommand,
	importCommand,
	compareCommand,
	sweepCommand,
	dataCommand,
	demoCommand,
	benchCommand,
	doctorCommand,
	versionCommand,
}

const rootHelp = `alphalora measures how well each layer of a language model was trained (the tail of
its weights' spectra), gives the layers LoRA experts by it, fine-tunes the model with
them and evaluates the result.

Exit status: 0 done; 1 the work failed; 2 the call, a configuration or an input file is
wrong; 130 or 143 stopped by a signal.`

func rootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "alphalora VERB",
		Short:         "AlphaLoRA: LoRA experts shared out by layer training quality",
		Long:          rootHelp,
		Example:       "  alphalora demo --out runs/demo",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownVerb(cmd, args[0])
		},
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.PersistentFlags().StringVar(&a.backend, "backend", "",
		"engine: "+strings.Join(engine.Names(), ", ")+" (default: the best that is present)")
	root.PersistentFlags().SortFlags = false
	for _, verb := range verbs {
		root.AddCommand(started(a, verb(a)))
	}
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		completion.Example = "  source <(alphalora completion bash)"
	}
	return root
}

// started marks that cmd's own work has begun: what cobra refuses before that is a
// wrong call, what the verb returns is judged by itself. A result that could not be
// written is found out here, before hours of work and not after.
func started(a *app, cmd *cobra.Command) *cobra.Command {
	work := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.started = true
		if flag := cmd.Flags().Lookup("json"); flag != nil {
			if err := writable("--json", flag.Value.String()); err != nil {
				return err
			}
		}
		return work(cmd, args)
	}
	return cmd
}

// unknownVerb refuses name and offers the verb nearest to it.
func unknownVerb(root *cobra.Command, name string) error {
	var names []string
	for _, cmd := range root.Commands() {
		names = append(names, cmd.Name())
	}
	remedy := "see alphalora --help"
	if meant := fault.Nearest(name, names); meant != "" {
		remedy = "did you mean " + meant + "? " + remedy
	}
	return fault.Input(fmt.Sprintf("verb %q", name), remedy, "there is no such verb")
}
