package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// build tells what the program was made of.
type build struct {
	Program   string            `json:"program"`
	Revision  string            `json:"revision,omitempty"`
	Go        string            `json:"go"`
	Platform  string            `json:"platform"`
	Libraries map[string]string `json:"libraries"`
}

// told are the libraries on whose version results depend.
var told = []string{
	"github.com/daulet/tokenizers",
	"github.com/gomlx/compute",
	"github.com/gomlx/go-xla",
	"github.com/gomlx/gomlx",
	"gonum.org/v1/gonum",
}

func versionCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "print the versions of the program and of the libraries in it",
		Args:    cobra.NoArgs,
		Example: "  alphalora version --json -",
	}
	jsonPath := addJSON(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		b := readBuild()
		out := a.text(*jsonPath)
		_, _ = fmt.Fprintf(out, "alphalora %s (%s, %s)\n", b.version(), b.Go, b.Platform)
		for _, path := range told {
			if version, ok := b.Libraries[path]; ok {
				_, _ = fmt.Fprintf(out, "  %s %s\n", path, version)
			}
		}
		return a.writeJSON(*jsonPath, b)
	}
	return cmd
}

func readBuild() build {
	b := build{Program: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Libraries: map[string]string{}}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Program = info.Main.Version
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			b.Revision = setting.Value
		}
	}
	for _, dep := range info.Deps {
		if slices.Contains(told, dep.Path) {
			b.Libraries[dep.Path] = dep.Version
		}
	}
	return b
}

// version is the program's version with its revision.
func (b build) version() string { return strings.TrimSpace(b.Program + " " + b.Revision) }
