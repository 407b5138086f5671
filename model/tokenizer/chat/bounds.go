package chat

import (
	"fmt"
	"time"

	"github.com/ardanlabs/jinja"
)

// The bounds of a template and of rendering one. The templates in use have at most some
// 25 KB, and a long context some 500 KB.
const (
	maxSource  = 256 << 10
	maxValue   = 2 << 20  // bytes or items of a value
	maxOutput  = 16 << 20 // bytes printed, also to where they are not seen
	maxWork    = 4 << 20  // steps of loops and sizes looked at
	maxDepth   = 32       // of macros in macros, and of lists in lists
	maxRange   = 100_000  // as Jinja's sandbox
	maxSeconds = 5
)

// errBound tells that a template was stopped.
type errBound struct{ what string }

func (e errBound) Error() string { return e.what }

// budget is what is left for one rendering.
type budget struct {
	work, output, depth int
	end                 time.Time
	strict              bool // printing what is not defined is an error
}

func newBudget() *budget {
	return &budget{work: maxWork, output: maxOutput, end: time.Now().Add(maxSeconds * time.Second)}
}

func (b *budget) spend(work int) error {
	if b.work -= work; b.work < 0 {
		return errBound{"takes too many steps"}
	}
	if time.Now().After(b.end) {
		return errBound{fmt.Sprintf("takes longer than %d seconds", maxSeconds)}
	}
	return nil
}

// check bounds the size and the depth of values.
func (b *budget) check(values ...jinja.Value) error {
	size := 0
	for _, v := range values {
		n, err := measure(v, 0, maxValue-size)
		if err != nil {
			return err
		}
		size += n
	}
	return b.spend(1 + size/64)
}

// measure counts the bytes and items of a value, up to limit.
func measure(v jinja.Value, depth, limit int) (size int, err error) {
	var items []jinja.Value
	switch {
	case v.IsString():
		size = len(v.AsString())
	case v.IsList():
		items = v.AsList().Items
	case v.IsDict():
		for _, key := range v.AsDict().Keys {
			size += len(key)
			items = append(items, v.AsDict().Data[key])
		}
	}
	if depth > maxDepth {
		return 0, errBound{fmt.Sprintf("nests lists more than %d deep", maxDepth)}
	}
	size += 1 + len(items)
	for _, item := range items {
		if size > limit {
			break
		}
		n, err := measure(item, depth+1, limit-size)
		if err != nil {
			return 0, err
		}
		size += n
	}
	if size > limit {
		return 0, errBound{fmt.Sprintf("makes a value of more than %d bytes", maxValue)}
	}
	return size, nil
}

type function = func(arguments []jinja.Value, named map[string]jinja.Value) (jinja.Value, error)

// hooks are the functions that a rewritten template calls.
func (b *budget) hooks() map[string]function {
	done := func(err error) (jinja.Value, error) { return jinja.NewBool(false), err }
	return map[string]function{
		"out": func(a []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) {
			if len(a) != 1 {
				return jinja.Undefined(), fmt.Errorf("an output is not one value")
			}
			if err := b.check(a...); err != nil {
				return jinja.Undefined(), err
			}
			if b.strict && a[0].IsUndefined() {
				return jinja.Undefined(), errUndefined{}
			}
			text := printed(a[0])
			if b.output -= len(text); b.output < 0 {
				return jinja.Undefined(), errBound{fmt.Sprintf("prints more than %d bytes", maxOutput)}
			}
			return jinja.NewString(text), nil
		},
		"value": func(a []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) {
			if len(a) != 1 {
				return jinja.Undefined(), fmt.Errorf("a set is not of one value")
			}
			return a[0], b.check(a...)
		},
		"step": func(a []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) { return done(b.check(a...)) },
		"enter": func(a []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) {
			if b.depth++; b.depth > maxDepth {
				return done(errBound{fmt.Sprintf("calls macros more than %d deep", maxDepth)})
			}
			return done(b.check(a...))
		},
		"leave": func([]jinja.Value, map[string]jinja.Value) (jinja.Value, error) {
			b.depth--
			return done(nil)
		},
	}
}
