package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/spf13/cobra"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/train"
)

// diagnosis is what doctor finds.
type diagnosis struct {
	Platform string       `json:"platform"`
	CPUs     int          `json:"cpus"`
	Memory   memory       `json:"memory"`
	GPU      bool         `json:"nvidia_gpu"`
	GPUs     []engine.GPU `json:"gpus,omitempty"`
	Untold   string       `json:"gpus_untold,omitempty"` // why the driver does not tell of its GPUs
	CUDA     *cudaSeen    `json:"cuda,omitempty"`        // nil: no plugin
	Default  string       `json:"default_engine"`
	Build    build        `json:"build"`
	Engines  []engineSeen `json:"engines"`
	Searched []string     `json:"plugin_directories"`
}

// cudaSeen is the CUDA plugin that would be taken, whether or not there is a GPU.
type cudaSeen struct {
	engine.CUDASetup
	API   string `json:"pjrt_api"`
	Wrong string `json:"wrong,omitempty"`
}

// memory in bytes, as the operating system tells it; 0 where it does not.
type memory struct {
	Total     int64 `json:"total_bytes"`
	Available int64 `json:"available_bytes"`
}

// engineSeen is one engine: what it is when it works, why it does not otherwise.
type engineSeen struct {
	Name    string   `json:"name"`
	Works   bool     `json:"works"`
	Plugin  string   `json:"plugin,omitempty"`
	Library string   `json:"library,omitempty"`
	Devices []string `json:"devices,omitempty"`
	Missing string   `json:"missing,omitempty"`
}

func doctorCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "tell which engines, libraries, devices and memory are there, and how to get the rest",
		Long: `doctor opens every engine, runs a small product on it and checks the result. It fails
(status 1) when the engine that the program would take does not work.`,
		Args:    cobra.NoArgs,
		Example: "  alphalora doctor --json doctor.json",
	}
	jsonPath := addJSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d, err := diagnose(cmd.Context(), a.backend)
		if ctxErr := cmd.Context().Err(); ctxErr != nil {
			return ctxErr
		}
		d.print(a.text(*jsonPath))
		return errors.Join(a.writeJSON(*jsonPath, d), err)
	}
	return cmd
}

// diagnose looks at every engine; its error is that of the engine that would be taken.
func diagnose(ctx context.Context, backend string) (diagnosis, error) {
	d := diagnosis{
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
		CPUs:     runtime.NumCPU(),
		Memory:   readMemory("/proc/meminfo"),
		GPU:      engine.GPUPresent(),
		Searched: engine.SearchDirs(),
		Build:    readBuild(),
	}
	d.lookForCUDA()
	for _, name := range engine.Names() {
		if ctx.Err() != nil {
			return d, ctx.Err()
		}
		seen, _ := examine(name)
		d.Engines = append(d.Engines, seen)
	}
	taken, err := examine(backend)
	d.Default = taken.Name
	var bad *fault.Bad
	if err != nil && !errors.As(err, &bad) {
		err = fmt.Errorf("the engine does not work: %w", err)
	}
	return d, err
}

// lookForCUDA finds GPUs, the plugin and its libraries one by one, so that each that is
// missing is told by itself.
func (d *diagnosis) lookForCUDA() {
	if d.GPU {
		var err error
		if d.GPUs, err = engine.GPUs(); err != nil {
			d.Untold = err.Error()
		}
	}
	plugin, err := engine.Find(engine.CUDA)
	if err != nil {
		return
	}
	d.CUDA = &cudaSeen{CUDASetup: engine.SetupOf(plugin)}
	if d.CUDA.API, err = engine.API(plugin); err == nil && len(d.GPUs) > 0 {
		err = engine.DriverFits(d.CUDA.Version, d.GPUs[0].Driver)
	}
	if err != nil {
		d.CUDA.Wrong = err.Error()
	}
}

// examine opens one engine and has it compute.
func examine(name string) (engineSeen, error) {
	e, err := engine.Open(name)
	if err != nil {
		return engineSeen{Name: name, Missing: err.Error()}, err
	}
	defer e.Close()
	seen := engineSeen{Name: e.Name, Plugin: e.Plugin, Library: e.Backend.Description()}
	for i := range e.Backend.NumDevices() {
		seen.Devices = append(seen.Devices, e.Backend.DeviceDescription(compute.DeviceNum(i)))
	}
	if err = multiply(e.Backend); err != nil {
		seen.Missing = err.Error()
		return seen, err
	}
	seen.Works = true
	return seen, nil
}

// multiply runs [1 2 3]·[4 5 6] = 32 on backend.
func multiply(backend compute.Backend) error {
	product, err := engine.Try1(func() float32 {
		out := graph.MustExecOnce(backend, func(x, y *graph.Node) *graph.Node {
			return graph.Dot(x, y).Product()
		}, []float32{1, 2, 3}, []float32{4, 5, 6})
		return out.Value().(float32)
	})
	if err == nil && product != 32 {
		err = fmt.Errorf("it computed 1·4 + 2·5 + 3·6 = %g (do not use this engine here)", product)
	}
	return err
}

func (d diagnosis) print(w io.Writer) {
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	line("machine   %s, %d CPUs, memory %s free of %s", d.Platform, d.CPUs, gib(d.Memory.Available), gib(d.Memory.Total))
	d.printGPUs(line)
	for _, path := range told {
		if version, linked := d.Build.Libraries[path]; linked {
			line("library   %s %s", path, version)
		}
	}
	for _, e := range d.Engines {
		if !e.Works {
			line("engine    %-9s missing: %s", e.Name, strings.TrimPrefix(e.Missing, e.Name+": "))
			continue
		}
		line("engine    %-9s works: %s", e.Name, e.Library)
		for _, device := range e.Devices {
			line("          %-9s device %s", "", device)
		}
	}
	line("default   %s", d.Default)
}

func (d diagnosis) printGPUs(line func(format string, args ...any)) {
	switch {
	case !d.GPU:
		line("gpu       no NVIDIA GPU is there")
	case d.Untold != "":
		line("gpu       an NVIDIA GPU is there; %s", d.Untold)
	case len(d.GPUs) == 0:
		line("gpu       CUDA_VISIBLE_DEVICES hides every GPU")
	}
	for _, g := range d.GPUs {
		line("gpu       %d: %s, memory %s free of %s, driver %s", g.Index, g.Name, gib(g.Free), gib(g.Total), g.Driver)
		for _, user := range g.Users {
			line("          used by %s", user)
		}
	}
	if d.CUDA == nil {
		return
	}
	line("cuda      plugin %s: PJRT %s, CUDA %d", d.CUDA.Plugin, d.CUDA.API, d.CUDA.Version)
	if d.CUDA.Wrong != "" {
		line("          wrong: %s", d.CUDA.Wrong)
	}
	if len(d.CUDA.Libraries) > 0 {
		line("          libraries in %s", strings.Join(d.CUDA.Libraries, ", "))
	}
	if len(d.CUDA.Missing) > 0 {
		line("          missing: %s", strings.Join(d.CUDA.Missing, ", "))
	}
}

func gib(bytes int64) string {
	if bytes == 0 {
		return "unknown"
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}

// readMemory reads Linux's meminfo file; elsewhere it is absent and both numbers are 0.
func readMemory(path string) memory {
	total, available := train.ReadMeminfo(path)
	return memory{Total: total, Available: available}
}
