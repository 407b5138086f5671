// Package engine chooses the backend on which graphs run, and is the one place
// where the panics of graph building become errors.
//
// # Which engine
//
// An engine is a backend of gomlx under the name that the user types:
//
//	xla:cuda            XLA through a PJRT plugin for NVIDIA GPUs
//	xla:cpu             XLA through a PJRT plugin for the CPU
//	go                  gomlx's pure-Go backend: f32 only and slow, runs anywhere
//	xla:/abs/plugin.so  XLA through that plugin outright
//
// "xla:cuda,tf32" is xla:cuda with products of f32 in TF32: faster, with factors rounded
// to 11 bits. Without it f32 means f32.
//
// Without a name the best one present is opened, in the order of that table, and
// [Engine.Describe] says which it is and why a better one was passed over: nothing
// falls back in silence. An engine asked for by name is opened or is an error.
// Nothing is ever downloaded here; `make setup` does that, and a Python environment with
// JAX brings what a GPU needs too (python.go).
//
// # Which plugin
//
// go-xla reads its search path when the process starts, loads every plugin that it
// finds there merely to list them, and crashes on one that does not load. So the
// plugin file is looked up here and named outright; [SearchDirs] tells where.
//
// # Errors
//
// gomlx's graph functions panic with error values, as they can then be composed like
// formulas. [Try] runs such a function and returns the error; a programming fault
// (nil dereference, index out of range) goes through as the panic that it is.
package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gomlx/compute"

	"alphalora/internal/fault"
)

// Names of the engines, best first.
const (
	CUDA = "xla:cuda"
	CPU  = "xla:cpu"
	Go   = "go"
)

// Names lists the engines, best first.
func Names() []string { return []string{CUDA, CPU, Go} }

// Engine is an open backend.
type Engine struct {
	Name    string          // as in [Names], or xla:/abs/plugin.so
	Backend compute.Backend // what gomlx's executors take
	Plugin  string          // path of the PJRT plugin; empty for the pure-Go backend
	Skipped []string        // why each better engine was passed over, best first
	GPU     *GPU            // the first that is used, as it was before this process took of it; nil: none, or not told
	Devices Devices         // on which a job runs, as [Engine.Use] has set it

	threads int               // of a CPU's pool, where [Engine.Use] has chosen it
	older   []compute.Backend // with fewer threads; what was made on them stays valid
}

// Open opens the engine called name. An empty name means the environment variable
// GOMLX_BACKEND, and when that is unset or empty too, the best engine present.
// A name that is not in [Names] and not a plugin's path is refused as bad input; a
// named engine that cannot be opened is failed work, and no other takes its place.
func Open(name string) (*Engine, error) {
	source := "--backend"
	if name == "" {
		name, source = os.Getenv(compute.ConfigEnvVar), compute.ConfigEnvVar
	}
	quiet()
	name, tf32 := strings.CutSuffix(name, tf32Option)
	path, outright := strings.CutPrefix(name, "xla:/")
	switch {
	case tf32 && name != CUDA:
		return nil, fault.Input(fmt.Sprintf("%s %q", source, name+tf32Option), "choose xla:cuda"+tf32Option, "TF32 is a GPU's")
	case name == "":
		return openBest()
	case outright:
		return openPlugin(name, "/"+path)
	case name == CUDA:
		return openCUDA(tf32)
	case name == CPU:
		plugin, err := Find(name)
		if err != nil {
			return nil, err
		}
		return openPlugin(name, plugin)
	case name == Go:
		return openGo()
	}
	return nil, fault.Input(fmt.Sprintf("%s %q", source, name),
		"choose "+strings.Join(Names(), ", ")+" or xla:/absolute/path/of/a/plugin.so",
		"is not an engine")
}

// openBest opens the first engine that works, and keeps the reasons of those before it.
func openBest() (*Engine, error) {
	var skipped []string
	for _, name := range []string{CUDA, CPU} {
		if name == CUDA && !GPUPresent() {
			continue // nothing is missed on a machine without a GPU
		}
		e, err := Open(name)
		if err == nil {
			e.Skipped = skipped
			return e, nil
		}
		skipped = append(skipped, err.Error())
	}
	e, err := openGo()
	if err != nil {
		return nil, err
	}
	e.Skipped = skipped
	return e, nil
}

// Describe is one line for people: the engine's name, what it is, and why each
// better one was passed over.
func (e *Engine) Describe() string {
	what := "PJRT plugin " + filepath.Base(e.Plugin)
	switch e.Name {
	case CUDA:
		what = "PJRT CUDA plugin, f32 and bf16, " + plural(e.Backend.NumDevices(), "GPU")
		if e.GPU != nil {
			what += fmt.Sprintf(", the first a %s with %.1f GB of %.1f free", e.GPU.Name, float64(e.GPU.Free)/1e9, float64(e.GPU.Total)/1e9)
		}
	case CPU:
		what = "PJRT CPU plugin, f32 and bf16"
	case Go:
		what = "pure Go, f32 only, slow"
	}
	line := fmt.Sprintf("engine: %s (%s)", e.Name, what)
	for _, why := range e.Skipped {
		line += "; not " + why
	}
	return line
}

func plural(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// GPUMemory is what the engine can take of the GPU's memory, of all of it and of what was
// free at the start; 0 where it is not known.
func (e *Engine) GPUMemory() (total, free int64) {
	if e.GPU == nil {
		return 0, 0
	}
	return int64(memoryShare * float64(e.GPU.Total)), int64(memoryShare * float64(e.GPU.Free))
}

// Close releases the backend; the engine is of no use afterwards.
func (e *Engine) Close() {
	for _, b := range append(e.older, e.Backend) {
		b.Finalize()
	}
}
