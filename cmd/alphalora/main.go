// Command alphalora measures how well each layer of a language model was trained,
// shares out LoRA experts by it, fine-tunes the model with them and evaluates the
// result. `alphalora --help` lists its verbs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/train"
)

func main() {
	restart()
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	a := newApp(os.Stdout, os.Stderr)
	go stopOn(signals, a, cancel)
	err := run(ctx, a, os.Args[1:])
	os.Exit(complain(ctx, os.Stderr, err))
}

// run executes one command line.
func run(ctx context.Context, a *app, args []string) error {
	defer a.close()
	root := rootCommand(a)
	root.SetArgs(args)
	verb, err := root.ExecuteContextC(ctx)
	var bad *fault.Bad
	if err != nil && !a.started && !errors.As(err, &bad) {
		// cobra refused the call before the verb's own work began
		return fault.Input(verb.CommandPath(), "see "+verb.CommandPath()+" --help", "%s", err)
	}
	return err
}

// interrupted is the cause with which a signal cancels the work.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string { return i.signal.String() }

// stopOn cancels the work on the first signal, unless it is a Ctrl-C that the work
// catches; the second one ends the process at once.
func stopOn(signals <-chan os.Signal, a *app, cancel context.CancelCauseFunc) {
	got := <-signals
	for got == os.Interrupt && a.interrupt() {
		got = <-signals
	}
	signal.Reset(os.Interrupt, syscall.SIGTERM)
	if s, ok := got.(syscall.Signal); ok {
		cancel(interrupted{s})
	}
}

// complain prints err, one line for each error joined in it, and returns the exit
// status. What to do about an error of the engine is told here, where nobody has yet.
// After a signal the status is 128 plus its number, as shells count.
func complain(ctx context.Context, stderr io.Writer, err error) int {
	if err == nil {
		return fault.StatusDone
	}
	var by interrupted
	if errors.As(context.Cause(ctx), &by) {
		tellStop(stderr, by, err)
		return 128 + int(by.signal)
	}
	for _, one := range parts(err) {
		line := strings.Join(strings.Fields(one.Error()), " ")
		if do := engine.Remedy(one); engine.Broke(one) && !strings.Contains(line, do) {
			line += " (" + do + ")"
		}
		_, _ = fmt.Fprintln(stderr, "alphalora:", line)
	}
	return fault.ExitStatus(err)
}

// tellStop says what a signal ended, and what of a run's training is kept.
func tellStop(stderr io.Writer, by interrupted, err error) {
	var training *train.Stopped
	if !errors.As(err, &training) {
		_, _ = fmt.Fprintf(stderr, "alphalora: stopped by a signal: %s (nothing half-written was left)\n", by.signal)
		return
	}
	_, _ = fmt.Fprintf(stderr, "alphalora: stopped by a signal: %s, %s\n", by.signal, training)
	for _, one := range parts(err) {
		if !errors.Is(one, context.Canceled) { // what went wrong in keeping it
			_, _ = fmt.Fprintln(stderr, "alphalora:", strings.Join(strings.Fields(one.Error()), " "))
		}
	}
}

// parts are the errors that were joined in err, or err alone.
func parts(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, one := range joined.Unwrap() {
			all = append(all, parts(one)...)
		}
		return all
	}
	return []error{err}
}
