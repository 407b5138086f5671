package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	"github.com/stretchr/testify/require"

	"alphalora/internal/engine"
)

// faulty is the pure-Go backend with the manners of a GPU: device and host share no memory,
// and what it is asked to do may fail, as a driver's error.
type faulty struct {
	compute.Backend
	breakage
	mu   sync.Mutex
	seen int // events of the fault's name
	hits int // faults that were thrown
}

// breakage says what fails: the nth event of that name, and all that follow it, as on a GPU
// that is lost. Events are "compile GRAPH", "run GRAPH", "read GRAPH -1" of its last output,
// "read GRAPH -2" of the one before, and "write" of what the host sends; a name's first words
// stand for all that begin so.
type breakage struct {
	event  string
	nth    int // from 1; 0: none fails
	err    error
	panics bool // thrown as gomlx throws, not returned
}

// happens notes an event and fails where the fault says so.
func (f *faulty) happens(event string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hits == 0 {
		if event != f.event && !strings.HasPrefix(event, f.event+" ") {
			return nil
		}
		if f.seen++; f.seen != f.nth {
			return nil
		}
	}
	f.hits++
	if f.panics {
		panic(f.err)
	}
	return f.err
}

func (f *faulty) HasSharedBuffers() bool { return false }

func (f *faulty) Builder(name string) compute.Builder {
	graph, _, _ := strings.Cut(name[strings.LastIndex(name, ".")+1:], "#")
	return &faultyBuilder{f.Backend.Builder(name), f, graph}
}

func (f *faulty) BufferFromFlatData(device compute.DeviceNum, flat any, shape shapes.Shape) (compute.Buffer, error) {
	if err := f.happens("write"); err != nil {
		return nil, err
	}
	b, err := f.Backend.BufferFromFlatData(device, flat, shape)
	return &faultyBuffer{b, f, "input"}, err
}

type faultyBuilder struct {
	compute.Builder
	on   *faulty
	name string
}

func (b *faultyBuilder) Compile() (compute.Executable, error) {
	if err := b.on.happens("compile " + b.name); err != nil {
		return nil, err
	}
	e, err := b.Builder.Compile()
	return &faultyExecutable{e, b.on, b.name}, err
}

type faultyExecutable struct {
	compute.Executable
	on   *faulty
	name string
}

func (e *faultyExecutable) Execute(inputs []compute.Buffer, donate []bool, device compute.DeviceNum) ([]compute.Buffer, error) {
	if err := e.on.happens("run " + e.name); err != nil {
		return nil, err
	}
	own := slices.Clone(inputs)
	for i, b := range own {
		own[i] = b.(*faultyBuffer).Buffer
	}
	outs, err := e.Executable.Execute(own, donate, device)
	for i, b := range outs {
		outs[i] = &faultyBuffer{b, e.on, fmt.Sprint(e.name, " ", i-len(outs))}
	}
	return outs, err
}

// faultyBuffer is on the device what a graph made or the host sent.
type faultyBuffer struct {
	compute.Buffer
	on   *faulty
	from string
}

func (b *faultyBuffer) Backend() compute.Backend { return b.on }

// Finalize of a GPU that is lost fails too.
func (b *faultyBuffer) Finalize() error {
	b.on.mu.Lock()
	defer b.on.mu.Unlock()
	if b.on.hits > 0 {
		return b.on.err
	}
	return b.Buffer.Finalize()
}

func (b *faultyBuffer) ToFlatData(flat any) error {
	if err := b.on.happens("read " + b.from); err != nil {
		return err
	}
	return b.Buffer.ToFlatData(flat)
}

// callOn runs one command line as [call] does, on an engine of that name that has the fault,
// and tells how often the fault's event came.
func callOn(t *testing.T, name string, what breakage, args ...string) (stderr string, status, seen int) {
	t.Helper()
	f := &faulty{breakage: what}
	_, stderr, status = callWith(t, f, &engine.Engine{Name: name}, args...)
	require.Equal(t, what.nth > 0, f.hits > 0, "the fault came: %s", stderr)
	return stderr, status, f.seen
}

// callWith runs one command line on an engine of the test's, whose backend is f.
func callWith(t *testing.T, f *faulty, eng *engine.Engine, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	healthy, err := engine.Open(engine.Go)
	require.NoError(t, err)
	f.Backend, eng.Backend = healthy.Backend, f
	var out, errs bytes.Buffer
	a := newApp(&out, &errs)
	a.opened = eng
	err = run(context.Background(), a, args)
	status = complain(context.Background(), &errs, err)
	return out.String(), errs.String(), status
}
