package engine

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"k8s.io/klog/v2"
)

// OpenWithoutGPU opens an engine that builds graphs as [CUDA] builds them, on a machine
// without a GPU: the CPU plugin under a name that go-xla takes for a GPU's. It runs
// nothing right; [Emit] is what it is for.
func OpenWithoutGPU() (*Engine, error) {
	plugin, err := Find(CPU)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pjrt-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	alias := filepath.Join(dir, "pjrt_c_api_cuda_plugin"+sharedLibrary())
	if err := os.Symlink(plugin, alias); err != nil {
		return nil, err
	}
	quiet()
	e, err := openPlugin(CUDA, alias, "tf32=false")
	if err != nil {
		return nil, err
	}
	e.Plugin = plugin
	return e, nil
}

// emitting keeps Emit to one at a time: the log it listens to is the process's.
var emitting sync.Mutex

// Emit runs compile, which must compile a graph, and returns the program in StableHLO that
// it would have given to XLA; nothing is compiled. go-xla hands its programs to nobody but
// its log, so that is where it is read, and left by a panic.
func Emit(compile func()) (string, error) {
	emitting.Lock()
	defer emitting.Unlock()
	catcher := &programCatcher{}
	level := verbosity("2")
	klog.LogToStderr(false)
	klog.SetOutput(catcher)
	defer func() {
		verbosity(level)
		klog.SetOutput(io.Discard)
	}()
	err := Try(compile)
	if catcher.program == "" {
		return "", errors.Join(errors.New("no program was compiled"), err)
	}
	return catcher.program, nil
}

// verbosity sets klog's and returns what it was.
func verbosity(level string) (before string) {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	before = flags.Lookup("v").Value.String()
	_ = flags.Set("v", level)
	return before
}

// programCatcher waits for the log line with the program.
type programCatcher struct{ program string }

// errEmitted ends a compilation before it begins.
var errEmitted = errors.New("the program was emitted, not compiled")

func (c *programCatcher) Write(line []byte) (int, error) {
	if _, program, found := strings.Cut(string(line), "Program:\n"); found {
		c.program = strings.TrimSpace(program) + "\n"
		panic(fmt.Errorf("%w", errEmitted))
	}
	return len(line), nil
}
