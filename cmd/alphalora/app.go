package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"alphalora/internal/atomicfile"
	"alphalora/internal/engine"
	"alphalora/internal/fault"
)

// app is what every verb shares: the streams, the engine, and how results and
// progress are told.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	backend        string // --backend
	started        bool   // whether a verb's own work has begun
	opened         *engine.Engine

	catching sync.Mutex
	caught   func() // takes the next Ctrl-C in the program's place; nil: none does
}

func newApp(stdout, stderr io.Writer) *app {
	return &app{stdin: os.Stdin, stdout: stdout, stderr: stderr}
}

// engine opens the engine at the first call, and says on standard error which it is.
func (a *app) engine(ctx context.Context) (*engine.Engine, error) {
	if a.opened != nil {
		return a.opened, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e, err := engine.Open(a.backend)
	if err != nil {
		return nil, err
	}
	a.opened = e
	a.say("%s", e.Describe())
	return e, nil
}

// close releases the engine, if one was opened.
func (a *app) close() {
	if a.opened != nil {
		a.opened.Close()
		a.opened = nil
	}
}

// catch lets stop take each Ctrl-C, which then does not end the program, until release
// is called.
func (a *app) catch(stop func()) (release func()) {
	set := func(f func()) {
		a.catching.Lock()
		defer a.catching.Unlock()
		a.caught = f
	}
	set(stop)
	return func() { set(nil) }
}

// interrupt gives a Ctrl-C to who catches it, and tells whether anybody did.
func (a *app) interrupt() bool {
	a.catching.Lock()
	defer a.catching.Unlock()
	if a.caught == nil {
		return false
	}
	a.caught()
	return true
}

// say prints one line on standard error.
func (a *app) say(format string, args ...any) {
	_, _ = fmt.Fprintf(a.stderr, format+"\n", args...)
}

// addJSON gives cmd the flag --json.
func addJSON(cmd *cobra.Command) *string {
	return cmd.Flags().String("json", "", "write the result as JSON to `FILE` (- is standard output)")
}

// text is where a verb prints its result for people: standard output, or standard
// error when the JSON goes to standard output.
func (a *app) text(jsonPath string) io.Writer {
	if jsonPath == "-" {
		return a.stderr
	}
	return a.stdout
}

// writeJSON writes v, indented, to the file at path, whole or not at all. "-" is
// standard output; with an empty path nothing is written.
func (a *app) writeJSON(path string, v any) error {
	if path == "" {
		return nil
	}
	fill := func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(v)
	}
	if path == "-" {
		return fill(a.stdout)
	}
	return atomicfile.Write(path, fill)
}

// writable refuses a file that the flag names when it could not be written later.
// "" and "-" need no file.
func writable(flag, path string) error {
	if path == "" || path == "-" {
		return nil
	}
	what, remedy := flag+" "+path, "name a file in a directory that you may write to"
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fault.Input(what, remedy, "is a directory")
	} else if err == nil && !info.Mode().IsRegular() {
		return nil // a device or a pipe
	}
	probe, err := os.CreateTemp(filepath.Dir(path), ".alphalora-*")
	if err != nil {
		var reason *fs.PathError
		if errors.As(err, &reason) {
			err = reason.Err
		}
		return fault.Input(what, remedy, "cannot be written: %s", err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}
