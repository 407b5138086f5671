package seedling

import (
	"embed"
	"io/fs"
	"os"
	"path/filepath"

	"alphalora/internal/atomicfile"
)

// base is the pretrained model that `make seedling` made.
//
//go:embed base
var base embed.FS

// WriteBase writes the shipped model's directory: config.json, model.safetensors and the
// tokenizer's files.
func WriteBase(dir string) error {
	files, err := fs.ReadDir(base, "base")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		content, err := base.ReadFile("base/" + f.Name())
		if err != nil {
			return err
		}
		if err := atomicfile.WriteBytes(filepath.Join(dir, f.Name()), content); err != nil {
			return err
		}
	}
	return nil
}

// Config is the shipped model's config.json.
func Config() string {
	content, err := base.ReadFile("base/config.json")
	if err != nil {
		panic("seedling: no config.json is embedded: " + err.Error())
	}
	return string(content)
}
