package model

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"alphalora/internal/fault"
)

// Family turns the config.json of its checkpoints into a [Description].
type Family struct {
	ModelType string // config.json's model_type
	Describe  func(c *config) Description
}

// families is the table: to support another one, write its file and add its row.
var families = []Family{
	llama,
}

// Families lists the model types that can be read.
func Families() []string {
	names := make([]string, len(families))
	for i, f := range families {
		names[i] = f.ModelType
	}
	return names
}

// maxConfigBytes bounds a config.json: real ones have a few kilobytes.
const maxConfigBytes = 1 << 20

// ReadDescription reads the config.json of a model directory. A field that is missing,
// out of range, or that asks for arithmetic which the family does not have is an error;
// all of them come together.
func ReadDescription(dir string) (Description, error) {
	path := filepath.Join(dir, "config.json")
	info, err := os.Stat(path)
	if err != nil {
		return Description{}, fault.Input(path, "give a directory in Hugging Face layout", "cannot be read: %v", fault.Reason(err))
	}
	if info.Size() > maxConfigBytes {
		return Description{}, fault.Input(path, "is this a model's config.json?", "%d bytes are more than the %d allowed", info.Size(), maxConfigBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Description{}, fmt.Errorf("%s: %w", path, err)
	}
	return ParseDescription(path, data)
}

// ParseDescription is [ReadDescription] of the bytes of a config.json; path is named in errors.
func ParseDescription(path string, data []byte) (Description, error) {
	c := &config{path: path}
	if err := json.Unmarshal(data, &c.fields); err != nil {
		return Description{}, fault.Input(path, "download it again", "is not a JSON object: %v", err)
	}
	kind := c.text("model_type", "")
	i := slices.IndexFunc(families, func(f Family) bool { return f.ModelType == kind })
	if i < 0 {
		return Description{}, fault.Input(path, "supported: "+strings.Join(Families(), ", "), "model_type %q is not supported", kind)
	}
	d := families[i].Describe(c)
	d.Family = kind
	c.refuse("quantization_config", "use the unquantised checkpoint")
	c.check(d)
	if len(c.problems) > 0 {
		return Description{}, fault.Input(path, "mend or replace config.json", "%s", strings.Join(c.problems, "; "))
	}
	return d, nil
}
