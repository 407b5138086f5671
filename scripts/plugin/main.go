// Command plugin installs and checks PJRT plugins for `make setup`. It is no part of
// the program itself, which never downloads anything.
//
//	go run ./scripts/plugin cpu DIR      go-xla's installer of the CPU plugin
//	go run ./scripts/plugin cuda DIR     go-xla's installer of the CUDA plugin
//	go run ./scripts/plugin check FILE   load the plugin and open its devices
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/gomlx/go-xla/installer"
	"github.com/gomlx/go-xla/pjrt"
	"k8s.io/klog/v2"

	"alphalora/internal/engine"
)

// reachable is how long the release of the CPU plugin may take to answer.
const reachable = 15 * time.Second

func main() {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, strings.Join(strings.Fields(err.Error()), " "))
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: plugin cpu DIR | cuda DIR | check FILE")
	}
	switch verb, path := args[0], args[1]; verb {
	case "cpu":
		return installCPU(path)
	case "cuda":
		return installer.CudaInstall("cuda13", "latest", path, false, installer.Quiet)
	case "check":
		e, err := engine.Open("xla:" + path)
		if err != nil {
			return err
		}
		e.Close()
		return nil
	default:
		return fmt.Errorf("%q: choose cpu, cuda or check", verb)
	}
}

// installCPU asks the release for the file first: that answers soon or not at all,
// while the download itself may take minutes.
func installCPU(dir string) error {
	platform := runtime.GOOS + "_" + runtime.GOARCH
	answer := make(chan error, 1)
	go func() {
		_, err := installer.CPUGetDownloadURL(platform, pjrt.DefaultCPUVersion)
		answer <- err
	}()
	select {
	case err := <-answer:
		if err != nil {
			return err
		}
	case <-time.After(reachable):
		return fmt.Errorf("no answer from the release within %s", reachable)
	}
	return installer.CPUInstall(platform, pjrt.DefaultCPUVersion, dir, false, installer.Quiet)
}
