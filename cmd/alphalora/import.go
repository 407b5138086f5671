package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"alphalora/internal/atomicfile"
	"alphalora/internal/fault"
	"alphalora/moelora"
)

// imported is the JSON of the verb import.
type imported struct {
	Out        string           `json:"out"`
	Rank       int              `json:"r"`
	Alpha      float64          `json:"lora_alpha"`
	Targets    []string         `json:"target_modules"`
	Experts    []int            `json:"experts"`
	TopK       []int            `json:"top_k"`
	Router     string           `json:"router"`
	Seed       uint64           `json:"seed"`
	Parameters int              `json:"parameters"`
	Sources    []importedSource `json:"sources"` // in the order of the experts
}

type importedSource struct {
	Peft        string   `json:"peft"`
	Rank        int      `json:"r"`
	Scale       float64  `json:"scale"`       // α/r or α/√r
	Projections int      `json:"projections"` // that it adapts
	Zeros       []string `json:"zeros"`       // modules where its expert is zero, as others adapt them and it does not
}

func importCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import --model MODEL --peft DIR,DIR,... --out DIR",
		Short: "make PEFT LoRAs the experts of a new adapter",
		Long: `import takes LoRA adapters that peft saved and makes them the experts of one adapter: in
each layer one expert for each of them, exactly its LoRA. Ranks may differ (they are padded
with zeros), scales too (they go into B), and targets (where one has no LoRA its expert is
zero). With one adapter there is nothing to route, and the result is that LoRA.

The new routers know nothing yet. random draws them as a fresh adapter's, so that gates are
nearly even, differ from token to token and all experts learn. zero gives all experts the same
gate; as equal ones tie, it is for --top-k equal to their number alone, the mean of all.
docs/adapters.md says what cannot be carried.`,
		Args:    cobra.NoArgs,
		Example: "  alphalora import --model models/mistral-7b --peft loras/math,loras/law --out runs/both",
	}
	f := cmd.Flags()
	modelDir := f.String("model", "", "`DIR` of the base model in Hugging Face layout (required)")
	dirs := f.StringSlice("peft", nil, "`DIR`s of PEFT LoRA adapters, one for each expert (required)")
	out := f.String("out", "", "`DIR` of the new adapter (required)")
	var o moelora.ImportOptions
	f.IntVar(&o.TopK, "top-k", 0, "experts that a token uses (0: 2; with --router zero all)")
	f.StringVar(&o.Router, "router", moelora.RandomRouter, "the routers' start: random or zero")
	f.Uint64Var(&o.Seed, "seed", 42, "seed of the random routers")
	jsonPath := addJSON(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		result, err := importPeft(*modelDir, *dirs, *out, o)
		if err != nil {
			return err
		}
		result.print(a.text(*jsonPath))
		return a.writeJSON(*jsonPath, result)
	}
	return cmd
}

// importPeft writes the new adapter, reads it back, and only then gives it its name.
func importPeft(modelDir string, dirs []string, out string, o moelora.ImportOptions) (*imported, error) {
	if len(dirs) == 0 {
		return nil, fault.Input("--peft", "name at least one adapter directory", "is missing")
	}
	if err := vacant(out); err != nil {
		return nil, err
	}
	base, err := describe(modelDir)
	if err != nil {
		return nil, err
	}
	m, err := moelora.Import(base.Description, dirs, o)
	if err != nil {
		return nil, err
	}
	err = atomicfile.Dir(out, func(dir string) error {
		if err := m.Save(dir, base); err != nil {
			return err
		}
		_, err := moelora.Load(dir, base, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	result := &imported{Out: out, Rank: m.Rank, Alpha: m.Alpha, Experts: m.Experts, TopK: m.TopK,
		Router: o.Router, Seed: o.Seed, Parameters: m.Parameters()}
	for _, site := range m.Targets {
		result.Targets = append(result.Targets, site.String())
	}
	for e, dir := range dirs {
		rank, scale, projections := m.Source(e)
		result.Sources = append(result.Sources, importedSource{dir, rank, scale, projections, append([]string{}, m.Zeros[e]...)})
	}
	return result, nil
}

func (r *imported) print(w io.Writer) {
	for e, s := range r.Sources {
		_, _ = fmt.Fprintf(w, "expert %d: %s, r %d, scale %.6g, %d projections\n", e, s.Peft, s.Rank, s.Scale, s.Projections)
		if len(s.Zeros) > 0 {
			_, _ = fmt.Fprintf(w, "  zero at %d projections that others adapt and it does not: %s\n", len(s.Zeros), listed(s.Zeros))
		}
	}
	_, _ = fmt.Fprintf(w, "%s: experts %v, top-k %v, r %d, alpha %.6g, %d parameters\n", r.Out, r.Experts, r.TopK, r.Rank, r.Alpha, r.Parameters)
	if len(r.Sources) > 1 {
		_, _ = fmt.Fprintln(w, "the routers know nothing yet: train with adapter.from")
	}
}
