package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"alphalora/internal/atomicfile"
	"alphalora/internal/fault"
	"alphalora/moelora"
)

// exported is the JSON of the verb export.
type exported struct {
	Out     string `json:"out"`
	Format  string `json:"format"`
	Experts []int  `json:"experts"`
	TopK    []int  `json:"top_k"`
}

// formats are what export can write.
var formats = map[string]func(a *moelora.Adapter, dir string, m moelora.Manifest) error{
	"peft":     (*moelora.Adapter).ExportPeft,
	"released": (*moelora.Adapter).ExportReleased,
}

func exportCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export --model MODEL --adapter DIR --format peft|released --out DIR",
		Short: "write an adapter for peft, or for the paper's released code",
		Long: `export writes an adapter in another program's format. peft is for adapters whose layers
have one expert each, or none: a plain LoRA that peft loads, layers without experts left out.
released is what the paper's released code saves and loads; it states neither the number of
experts nor top-k, which its reader must be told.`,
		Args:    cobra.NoArgs,
		Example: "  alphalora export --model models/mistral-7b --adapter runs/lora/adapter --format peft --out runs/lora/peft",
	}
	f := cmd.Flags()
	modelDir := f.String("model", "", "`DIR` of the base model in Hugging Face layout (required)")
	adapterDir := f.String("adapter", "", "`DIR` of the adapter (required)")
	format := f.String("format", "", "peft or released (required)")
	out := f.String("out", "", "`DIR` to write (required)")
	jsonPath := addJSON(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		write, ok := formats[*format]
		if !ok {
			return fault.Input(fmt.Sprintf("--format %q", *format), "use peft or released", "is no format to export")
		}
		if err := vacant(*out); err != nil {
			return err
		}
		_, adapter, err := describeAdapter(*modelDir, *adapterDir)
		if err != nil {
			return err
		}
		manifest, err := moelora.ReadManifest(*adapterDir)
		if err != nil {
			return err
		}
		if err := atomicfile.Dir(*out, func(dir string) error { return write(adapter, dir, manifest) }); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(a.text(*jsonPath), "%s: %s, experts %v\n", *out, *format, adapter.Experts)
		if *format == "released" {
			_, _ = fmt.Fprintf(a.text(*jsonPath), "the format does not state top-k: tell whoever loads it, %v\n", adapter.TopK)
		}
		return a.writeJSON(*jsonPath, exported{*out, *format, adapter.Experts, adapter.TopK})
	}
	return cmd
}
