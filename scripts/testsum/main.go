// Command testsum reads `go test -json` from standard input, prints the output of what
// failed and the reasons of what was skipped, and closes with one line of counts. It
// fails when a test failed, when a package did not build, and when no test ran at all.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// event is a line of `go test -json`.
type event struct {
	Action, Package, ImportPath, Test, Output string
}

// summary is what was counted.
type summary struct {
	passed, failed, skipped, packages int
	broken                            []string            // packages that failed
	output                            map[string][]string // by package and test, until it ends
	reasons                           map[string]int      // of skipped tests
}

func main() {
	began := time.Now()
	s, err := read(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "test:", err)
		os.Exit(1)
	}
	for _, reason := range sorted(s.reasons) {
		fmt.Printf("test: %d skipped: %s\n", s.reasons[reason], reason)
	}
	fmt.Printf("test: %d passed, %d failed, %d skipped in %d packages, %.0f s\n",
		s.passed, s.failed, s.skipped, s.packages, time.Since(began).Seconds())
	if len(s.broken) > 0 {
		fmt.Fprintln(os.Stderr, "test: FAILED:", strings.Join(s.broken, " "))
	}
	if s.failed > 0 || s.passed == 0 || len(s.broken) > 0 {
		os.Exit(1)
	}
}

// read counts the events of in; output of failures goes to out as it comes.
func read(in io.Reader, out io.Writer) (*summary, error) {
	s := &summary{output: map[string][]string{}, reasons: map[string]int{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			_, _ = fmt.Fprintln(out, lines.Text()) // the compiler's own words
			continue
		}
		s.take(e, out)
	}
	return s, lines.Err()
}

func (s *summary) take(e event, out io.Writer) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		s.output[key] = append(s.output[key], e.Output)
		return
	case "build-output":
		_, _ = io.WriteString(out, e.Output)
		return
	case "pass", "fail", "skip":
	default:
		return
	}
	if e.Action == "fail" {
		_, _ = io.WriteString(out, strings.Join(s.output[key], ""))
	}
	if e.Test == "" {
		s.endPackage(e)
	} else {
		s.endTest(e, strings.Join(s.output[key], ""))
	}
	delete(s.output, key)
}

func (s *summary) endPackage(e event) {
	if e.Action == "skip" {
		return // no test files
	}
	s.packages++
	if e.Action == "fail" {
		s.broken = append(s.broken, e.Package)
	}
}

func (s *summary) endTest(e event, output string) {
	switch e.Action {
	case "pass":
		s.passed++
	case "fail":
		s.failed++
	case "skip":
		s.skipped++
		s.reasons[reason(output)]++
	}
}

// reason is what the skipped test said, its place in the source aside.
func reason(output string) string {
	for line := range strings.Lines(output) {
		if _, said, ok := strings.Cut(line, ".go:"); ok {
			if _, said, ok = strings.Cut(said, ": "); ok {
				return strings.TrimPrefix(strings.TrimSpace(said), "skipped: ")
			}
		}
	}
	return "no reason given"
}

func sorted(counts map[string]int) []string {
	var keys []string
	for key := range counts {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
