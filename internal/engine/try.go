package engine

import (
	"errors"
	"regexp"
	"runtime"
	"strings"

	"github.com/gomlx/gomlx/core/tensors"
)

// Try runs build, a function that makes or runs graphs, and returns the error with
// which it panicked, told in one line without a stack trace; the cause stays
// reachable by errors.Is and errors.As. A panic that is a programming fault (a
// runtime.Error, wrapped or not) or not an error at all goes through.
func Try(build func()) (err error) {
	defer func() {
		thrown := recover()
		if thrown == nil {
			return
		}
		cause, isError := thrown.(error)
		var programming runtime.Error
		if !isError || errors.As(cause, &programming) {
			panic(thrown)
		}
		err = &graphError{cause}
	}()
	build()
	return nil
}

// Try1 is [Try] of a function with a result; the result is zero beside an error.
func Try1[T any](build func() T) (result T, err error) {
	err = Try(func() { result = build() })
	return result, err
}

// ReadScalar reads a scalar from the device when it is there. What made it may have failed
// without a word until then: a GPU works while the host goes on.
func ReadScalar[T int32 | float32](t *tensors.Tensor) (T, error) {
	return Try1(func() T { return tensors.ToScalar[T](t) })
}

// ReadValues copies a tensor from the device when it is there.
func ReadValues[T bool | int32 | float32](t *tensors.Tensor) ([]T, error) {
	values, err := tensors.CopyFlatData[T](t)
	return values, Broken(err)
}

// Broken marks an error that the engine returned, as [Try] does with what it throws; nil
// stays nil.
func Broken(err error) error {
	if err == nil {
		return nil
	}
	return &graphError{err}
}

// Broke tells whether the engine or its driver made an error.
func Broke(err error) bool {
	var g *graphError
	return errors.As(err, &g)
}

// graphError tells what a graph function threw, or a transfer returned.
type graphError struct{ cause error }

func (g *graphError) Error() string { return oneLine(g.cause) }
func (g *graphError) Unwrap() error { return g.cause }

// framePlace is the indented second line of a frame in a stack trace; the line before
// it names the function.
var framePlace = regexp.MustCompile(`^\t\S+:\d+`)

// oneLine is err's message without the stack trace that some layers print into it.
func oneLine(err error) string {
	lines := strings.Split(err.Error(), "\n")
	var kept []string
	for i, line := range lines {
		inFrame := framePlace.MatchString(line) || i+1 < len(lines) && framePlace.MatchString(lines[i+1])
		if line = strings.TrimSpace(line); line != "" && !inFrame {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "; ")
}
