package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// plainEvery is the time between two progress lines where there is no terminal.
const plainEvery = 10 * time.Second

// progress tells how far a long piece of work is, on standard error only: a bar on a
// terminal, a plain line now and then elsewhere. It is not for concurrent use.
type progress struct {
	label       string
	total, done int
	note        string
	bar         *progressbar.ProgressBar // nil where there is no terminal
	out         io.Writer
	begun, told time.Time
}

// progress begins a piece of work of total units.
func (a *app) progress(total int, label string) *progress {
	p := &progress{label: label, total: total, out: a.stderr, begun: time.Now(), told: time.Now()}
	if isTerminal(a.stderr) {
		p.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(a.stderr),
			progressbar.OptionSetDescription(label),
			progressbar.OptionShowCount(),
			progressbar.OptionSetWidth(24),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
		)
	}
	return p
}

// Add says that n more units are done, and what there is to note (the loss, say).
func (p *progress) Add(n int, note string) {
	p.done, p.note = p.done+n, note
	if p.bar != nil {
		p.bar.Describe(p.title())
		_ = p.bar.Add(n) // a bar that cannot be drawn must not stop the work
		return
	}
	if time.Since(p.told) >= plainEvery {
		p.line()
	}
}

// Done ends the work: the bar is cleared and one plain line stays.
func (p *progress) Done() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	p.line()
}

func (p *progress) title() string {
	if p.note == "" {
		return p.label
	}
	return p.label + ": " + p.note
}

func (p *progress) line() {
	p.told = time.Now()
	_, _ = fmt.Fprintf(p.out, "%s %d/%d, %.1f s\n", p.title(), p.done, p.total, time.Since(p.begun).Seconds())
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
