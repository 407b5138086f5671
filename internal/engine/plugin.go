package engine

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/gomlx/go-xla/pjrt"
)

// pluginNames are the glob patterns of each engine's plugin, best first.
var pluginNames = map[string][]string{
	CUDA: {"pjrt_c_api_cuda_plugin", "pjrt_c_api_cuda*_plugin", "pjrt[-_]plugin[-_]cuda*", "xla_cuda_plugin"},
	CPU:  {"pjrt_c_api_cpu_plugin", "pjrt_c_api_cpu_v*_plugin", "pjrt[-_]plugin[-_]cpu*"},
}

// Absent says that an engine's plugin was found nowhere.
type Absent struct {
	Engine string
	Dirs   []string
}

// Error names the engine, where it was looked for and what to do.
func (a *Absent) Error() string {
	remedy, around := "run make setup", ""
	if a.Engine == CUDA {
		remedy, around = `run make setup-cuda, or pip install "jax[cuda13]" into the python3 of PATH`, " nor in a Python environment"
	}
	return fmt.Sprintf("%s: no PJRT plugin found in %s%s (%s, or name a plugin's directory in %s)",
		a.Engine, strings.Join(a.Dirs, ", "), around, remedy, pjrt.PJRTPluginPathsEnv)
}

// Find returns the path of the plugin for engine, which is [CUDA] or [CPU]: the first in
// [SearchDirs], or else, for [CUDA] and where PJRT_PLUGIN_LIBRARY_PATH names no directories,
// JAX's in a Python environment. Its error is an [*Absent].
func Find(engine string) (string, error) {
	dirs := SearchDirs()
	for _, dir := range dirs {
		for _, pattern := range pluginNames[engine] {
			found, err := filepath.Glob(filepath.Join(escapeGlob(dir), pattern+sharedLibrary()))
			if err != nil || len(found) == 0 {
				continue
			}
			return slices.Max(found), nil // of several versions the last in name
		}
	}
	if engine == CUDA && !named() {
		if found := pythonPlugins(); len(found) > 0 {
			return fitting(found), nil
		}
	}
	return "", &Absent{Engine: engine, Dirs: dirs}
}

// fitting is the first of JAX's plugins that the driver runs, as far as it tells.
func fitting(plugins []string) string {
	if gpus, err := GPUs(); err == nil && len(plugins) > 1 && len(gpus) > 0 {
		for _, plugin := range plugins {
			if DriverFits(cudaOf(plugin), gpus[0].Driver) == nil {
				return plugin
			}
		}
	}
	return plugins[0]
}

// named tells whether the user names the directories of plugins.
func named() bool { return len(absolute(filepath.SplitList(os.Getenv(pjrt.PJRTPluginPathsEnv)))) > 0 }

// SearchDirs lists the directories in which plugins are looked for, first to last:
// those of PJRT_PLUGIN_LIBRARY_PATH when it is set and not empty; else the user's
// library of go-xla, the one beside the program (../.deps/lib), the system's, and
// LD_LIBRARY_PATH.
func SearchDirs() []string {
	if named() {
		return absolute(filepath.SplitList(os.Getenv(pjrt.PJRTPluginPathsEnv)))
	}
	var dirs []string
	if home, err := os.UserHomeDir(); err == nil {
		base := filepath.Join(home, ".local", "lib", "go-xla")
		dirs = append(dirs, base, filepath.Join(base, "nvidia"))
	}
	if program, err := os.Executable(); err == nil {
		if resolved, err := filepath.EvalSymlinks(program); err == nil {
			program = resolved
		}
		dirs = append(dirs, filepath.Join(filepath.Dir(program), "..", ".deps", "lib"))
	}
	dirs = append(dirs, "/usr/local/lib/go-xla", "/usr/local/lib/go-xla/nvidia")
	return append(dirs, absolute(filepath.SplitList(os.Getenv("LD_LIBRARY_PATH")))...)
}

// absolute keeps the absolute paths of list: a plugin is code, and is not taken from
// wherever the program happens to be started.
func absolute(list []string) []string {
	return slices.DeleteFunc(list, func(p string) bool { return !filepath.IsAbs(p) })
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func sharedLibrary() string {
	if runtime.GOOS == "darwin" {
		return ".dylib"
	}
	return ".so"
}

// GPUPresent tells whether the operating system shows an NVIDIA GPU.
func GPUPresent() bool {
	for _, pattern := range []string{"/dev/nvidia[0-9]*", "/dev/dxg"} {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			return true
		}
	}
	return false
}

// checkWhole refuses a plugin that is not a shared library or was cut short: loading
// such a file ends the process with a bus error instead of a message.
func checkWhole(path string) error {
	if runtime.GOOS != "linux" {
		_, err := os.Stat(path)
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	lib, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("is not a shared library, or not a whole one: %w", err)
	}
	defer func() { _ = lib.Close() }()
	for _, segment := range lib.Progs {
		if end := segment.Off + segment.Filesz; end > uint64(info.Size()) {
			return fmt.Errorf("is not a whole shared library: it has %d bytes and claims %d", info.Size(), end)
		}
	}
	return nil
}
