package moelora

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"alphalora/internal/atomicfile"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/weights"
)

// releasedType is the peft_type of the released code's adapters, and of PEFT's LoRAs.
const releasedType = "LORA"

// maxConfig bounds an adapter_config.json: real ones have a few kilobytes.
const maxConfig = 1 << 20

// readConfig reads an adapter_config.json within bounds.
func readConfig(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Input(path, "give an adapter directory", "cannot be read: %v", fault.Reason(err))
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fault.Input(path, "give an adapter directory", "cannot be read: %v", fault.Reason(err))
	}
	if len(data) > maxConfig {
		return nil, fault.Input(path, "is this an adapter's configuration?", "more than the %d bytes allowed", maxConfig)
	}
	return data, nil
}

// ReadManifest reads the adapter_config.json of an adapter directory.
func ReadManifest(dir string) (Manifest, error) { return readManifest(filepath.Join(dir, ConfigFile)) }

// writeFiles writes an adapter directory: tensors first, then the configuration, each
// whole or not at all.
func writeFiles(dir string, values map[string]weights.Tensor, config any) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fault.Input(dir, "choose a directory that can be written", "%v", fault.Reason(err))
	}
	list := slices.Collect(maps.Values(values))
	if err := weights.Write(filepath.Join(dir, WeightsFile), list, map[string]string{"format": "pt"}); err != nil {
		return err
	}
	data, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(dir, ConfigFile), append(data, '\n'))
}

// checkNotPeft refuses a plain PEFT LoRA, whose tensors carry no expert's number.
func checkNotPeft(dir string, names []string) error {
	for _, name := range names {
		if strings.HasSuffix(name, ".lora_A.weight") {
			return fault.Input(filepath.Join(dir, WeightsFile), "turn it into one with alphalora import --peft "+dir,
				"tensor %s is a PEFT LoRA's: this adapter has no experts", name)
		}
	}
	return nil
}

// checkNeighbours refuses a layer whose target projections hold different numbers of
// experts: a layer has one number, and its projections share it, but for the kinds whose
// attention has one expert.
func (a *Adapter) checkNeighbours(dir string, names []string) error {
	if a.Kind.SharedRouter {
		return nil
	}
	held := map[int]map[string]int{}
	for _, name := range names {
		if match := routerPattern.FindStringSubmatch(name); match != nil {
			layer, _ := strconv.Atoi(match[1])
			expert, _ := strconv.Atoi(match[3])
			if held[layer] == nil {
				held[layer] = map[string]int{}
			}
			held[layer][match[2]] = max(held[layer][match[2]], expert+1)
		}
	}
	for layer := range a.Layers {
		count := func(site model.Site) int { return held[layer][site.String()] }
		compare := func(s, t model.Site) int { return count(s) - count(t) }
		most, least := slices.MaxFunc(a.Targets, compare), slices.MinFunc(a.Targets, compare)
		if count(most) > count(least) {
			last := count(most) - 1
			return fault.Input(filepath.Join(dir, WeightsFile), "use files that belong together",
				"holds tensor %s but not %s: %d experts and %d, where all target projections of a layer have equally many",
				expertName(layer, most, "A", last), expertName(layer, least, "A", last), count(most), count(least))
		}
	}
	return nil
}

// places lists the weights of a checkpoint to which adapters add, in the order of the
// forward pass.
func places(d model.Description) []place {
	var list []place
	for layer := range d.Layers {
		for _, site := range model.Sites() {
			name, row := d.Place(layer, site)
			in, out := d.SiteDims(site)
			part := rows{site, row, out}
			if last := len(list) - 1; last >= 0 && list[last].name == name {
				list[last].parts = append(list[last].parts, part)
				list[last].out += out
				continue
			}
			list = append(list, place{name: name, layer: layer, in: in, out: out, parts: []rows{part}})
		}
	}
	return list
}

// place is one weight [out, in] of a checkpoint: a projection's, or several that the
// checkpoint fuses.
type place struct {
	name    string
	layer   int
	in, out int
	parts   []rows
}

// rows are those of one projection.
type rows struct {
	site       model.Site
	from, size int
}

// module is the weight's module in the base model, such as model.layers.0.mlp.up_proj.
func (p place) module() string { return strings.TrimSuffix(p.name, ".weight") }

// kind is the last part of the module's name, such as up_proj.
func (p place) kind() string { return p.module()[strings.LastIndex(p.module(), ".")+1:] }

// several lists the layers that choose among experts, with their numbers; "" for none.
func (s Shape) several() string {
	var list []string
	for layer, experts := range s.Experts {
		if experts > 1 {
			list = append(list, fmt.Sprintf("%d (%d experts)", layer, experts))
		}
	}
	return strings.Join(list, ", ")
}
