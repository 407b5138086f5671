package engine

import (
	"errors"
	"regexp"
	"runtime"
	"strings"
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

// graphError tells what a graph function threw.
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
