package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/go-xla/pjrt"
	"k8s.io/klog/v2"
)

// tf32Option is what a name of an engine ends with that may round f32 to TF32.
const tf32Option = ",tf32"

// openCUDA opens the first GPU, after what is known to fail was looked for: a plugin that
// the driver does not run is told by its versions, not by the code of an error.
func openCUDA(tf32 bool) (*Engine, error) {
	plugin, err := Find(CUDA)
	if err != nil {
		return nil, err
	}
	if !GPUPresent() {
		return nil, fmt.Errorf("%s: plugin %s is there, but no NVIDIA GPU (run it on a machine with one, or choose another with --backend)", CUDA, plugin)
	}
	gpus, told := GPUs()
	if told == nil && len(gpus) == 0 {
		return nil, fmt.Errorf("%s: CUDA_VISIBLE_DEVICES=%s hides every GPU (unset it)", CUDA, os.Getenv("CUDA_VISIBLE_DEVICES"))
	}
	if told == nil {
		if err := DriverFits(cudaOf(plugin), gpus[0].Driver); err != nil {
			return nil, fmt.Errorf("%s: plugin %s: %w", CUDA, plugin, err)
		}
	}
	e, err := openPlugin(CUDA, plugin, fmt.Sprintf("memory_fraction=%g", memoryShare), fmt.Sprintf("tf32=%t", tf32))
	if err != nil {
		if told == nil && len(gpus[0].Users) > 0 {
			err = fmt.Errorf("%w; GPU %d is used by %s", err, gpus[0].Index, strings.Join(gpus[0].Users, ", "))
		}
		return nil, err
	}
	if told == nil {
		e.GPU = &gpus[0]
	}
	return e, nil
}

// memoryShare is how much of a GPU's free memory the engine may take: what is left is for
// the libraries' own workspaces. It takes it as it needs it.
const memoryShare = 0.92

// The PJRT interface has versions major.minor. A plugin of another major version has other
// structures, and one older than leastMinor was not tried: its table may end before
// functions that are called.
const (
	pjrtMajor  = 0
	leastMinor = 81
)

// API loads the plugin at the absolute path and tells the version of its PJRT interface,
// with an error where that does not fit this program.
func API(path string) (version string, err error) {
	quiet()
	if err := checkWhole(path); err != nil {
		return "unknown", err
	}
	var major, minor int
	err = Try(func() {
		plugin, loadErr := pjrt.GetPlugin(path)
		if loadErr != nil {
			panic(loadErr)
		}
		major, minor = plugin.Version()
	})
	if err != nil {
		return "unknown", fmt.Errorf("could not be loaded: %w", err)
	}
	return fmt.Sprintf("%d.%d", major, minor), apiFits(major, minor)
}

func apiFits(major, minor int) error {
	if major != pjrtMajor || minor < leastMinor {
		return fmt.Errorf("speaks PJRT %d.%d, and this program %d.%d or newer: take a plugin of its time, by make setup", major, minor, pjrtMajor, leastMinor)
	}
	return nil
}

// openPlugin opens XLA through the PJRT plugin at the absolute path, with options of go-xla.
func openPlugin(name, path string, options ...string) (*Engine, error) {
	fail := func(err error) error {
		return fmt.Errorf("%s: plugin %s %s (%s, or choose another with --backend)", name, path, oneLine(err), remedyOf(name, err))
	}
	alias, done, err := unmistakable(name, path)
	if err != nil {
		return nil, fail(err)
	}
	defer done()
	if _, err := API(alias); err != nil {
		return nil, fail(err)
	}
	if name == CPU {
		lateWeights()
	}
	if name == CUDA {
		options = append(options, "noshared_buffers") // a path with "cpu" in it would turn them on
	}
	config := strings.Join(append([]string{alias}, options...), ",")
	var backend compute.Backend
	err = Try(func() {
		b, openErr := xla.New(config)
		if openErr != nil {
			panic(openErr)
		}
		backend = b
	})
	if err != nil {
		return nil, fail(fmt.Errorf("could not be loaded: %w", err))
	}
	return &Engine{Name: name, Backend: backend, Plugin: path}, nil
}

// remedies tell what to do about an error of XLA or its driver, by a part of its text.
var remedies = []struct{ part, do string }{
	{"No visible GPU devices", "see with nvidia-smi whether the driver shows a GPU, and what CUDA_VISIBLE_DEVICES hides"},
	{"RESOURCE_EXHAUSTED", "take fewer rows at once, or free the GPU"},
	{"ut of memory", "take fewer rows at once, or free the GPU"},
	{"CUDA_ERROR_ECC", "the GPU's memory is broken: take another"},
	{"CUDA_ERROR_", "the GPU or its driver failed: see dmesg and nvidia-smi"},
	{"CUDNN_STATUS", "alphalora doctor tells which of NVIDIA's libraries are missing"},
	{"DSO loader", "alphalora doctor tells which of NVIDIA's libraries are missing"},
	{"cannot open shared object", "alphalora doctor tells which of NVIDIA's libraries are missing"},
}

// Remedy is what to do about an error of the engine; empty for an error of others.
func Remedy(err error) string {
	if do := known(err); do != "" || !Broke(err) {
		return do
	}
	return "alphalora doctor tells whether the engine works"
}

// known is the remedy of an error that was met before.
func known(err error) string {
	for _, r := range remedies {
		if strings.Contains(err.Error(), r.part) {
			return r.do
		}
	}
	return ""
}

func remedyOf(name string, err error) string {
	if do := known(err); do != "" {
		return do
	}
	if name == CUDA {
		return "run make setup-cuda"
	}
	return "run make setup"
}

// unmistakable returns a path to the plugin from which go-xla reads its kind rightly.
// It takes "cuda", "nvidia" and "cpu" anywhere in the path for the kind of plugin, so
// a CPU plugin in the home of a user called nvidia would get a GPU's options; such a
// plugin is loaded through a link with a plain name, which done removes.
func unmistakable(name, path string) (alias string, done func(), err error) {
	done = func() {}
	if name != CPU || !pjrt.IsCUDAName(path) {
		return path, done, nil
	}
	dir, err := os.MkdirTemp("", "pjrt-")
	if err != nil {
		return "", done, err
	}
	done = func() { _ = os.RemoveAll(dir) }
	alias = filepath.Join(dir, "pjrt_c_api_cpu_plugin"+sharedLibrary())
	if pjrt.IsCUDAName(alias) {
		done()
		return "", func() {}, errors.New("would be taken for a CUDA plugin by the name of its directory and of the temporary directory: set TMPDIR to one without cuda or nvidia in its name")
	}
	if err = os.Symlink(path, alias); err != nil {
		done()
		return "", func() {}, err
	}
	return alias, done, nil
}

// openGo opens the pure-Go backend with a worker for each task: with a bounded number
// four concurrent large products can wait on each other forever.
func openGo() (*Engine, error) {
	var backend compute.Backend
	err := withoutStdout(func() (err error) {
		backend, err = gobackend.New("parallelism=-1")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: the pure-Go backend did not start: %s", Go, oneLine(err))
	}
	return &Engine{Name: Go, Backend: backend}, nil
}

// withoutStdout runs f with os.Stdout shut: the pure-Go backend prints its options
// there, where machine-readable results belong.
func withoutStdout(f func() error) error {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	stdout := os.Stdout
	os.Stdout = null
	defer func() {
		os.Stdout = stdout
		_ = null.Close()
	}()
	return f()
}

// quietLevel is what go-xla sets TF_CPP_MIN_LOG_LEVEL to when nobody else has.
const quietLevel = "3"

// quiet keeps the log lines of gomlx and XLA off standard error, unless
// TF_CPP_MIN_LOG_LEVEL asks for them (0 is the most).
func quiet() {
	level := strings.TrimSpace(os.Getenv("TF_CPP_MIN_LOG_LEVEL"))
	if level != "" && level != quietLevel {
		return
	}
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
}
