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

// openPlugin opens XLA through the PJRT plugin at the absolute path.
func openPlugin(name, path string) (*Engine, error) {
	fail := func(err error) error {
		return fmt.Errorf("%s: plugin %s %s (run make setup, or choose another with --backend)", name, path, oneLine(err))
	}
	if err := checkWhole(path); err != nil {
		return nil, fail(err)
	}
	alias, done, err := unmistakable(name, path)
	if err != nil {
		return nil, fail(err)
	}
	defer done()
	config := alias
	if name == CUDA {
		config += ",noshared_buffers" // a path with "cpu" in it would turn them on
	}
	if name == CPU {
		lateWeights()
	}
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
