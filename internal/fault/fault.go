// Package fault tells bad input from failed work.
//
// An error that a user can mend (a file, a flag, a configuration key) is made by
// [Input]: it names what was read, why it was refused and what to do, and the
// program exits with status 2. Every other error is failed work: status 1.
package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Bad is an input that was refused.
type Bad struct {
	What string // the file, flag or key, with the value where there is one
	Why  string // the rule that it breaks
	Do   string // the remedy; may be empty
}

// Error reads "WHAT: WHY (WHAT TO DO)", on one line.
func (b *Bad) Error() string {
	s := b.What + ": " + b.Why
	if b.Do != "" {
		s += " (" + b.Do + ")"
	}
	return strings.ReplaceAll(s, "\n", " ")
}

// Input returns a [Bad] whose Why is formatted.
func Input(what, do, why string, args ...any) error {
	return &Bad{What: what, Why: fmt.Sprintf(why, args...), Do: do}
}

// Reason is what the operating system said, without the path, which the error that
// quotes it names itself.
func Reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// Exit statuses of the program.
const (
	StatusDone   = 0
	StatusFailed = 1
	StatusBad    = 2
	StatusSignal = 130
)

// ExitStatus maps an error to the status with which the program ends:
// 0 for nil, 2 when a [Bad] is anywhere in its tree, 130 for an interrupt, else 1.
func ExitStatus(err error) int {
	var bad *Bad
	switch {
	case err == nil:
		return StatusDone
	case errors.As(err, &bad):
		return StatusBad
	case errors.Is(err, context.Canceled):
		return StatusSignal
	default:
		return StatusFailed
	}
}

// Nearest is the one of names that was meant by name, as near as a slip of the hand or a
// beginning of three letters; empty where there is none.
func Nearest(name string, names []string) string {
	meant, limit := "", max(2, len(name)/3)
	for _, other := range names {
		d := levenshtein.ComputeDistance(name, other)
		if len(name) >= 3 && strings.HasPrefix(other, name) {
			d = 1
		}
		if d <= limit && d < len(name) {
			meant, limit = other, d-1
		}
	}
	return meant
}
