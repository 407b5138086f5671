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
	warm        time.Time // when the first unit was done, whose time tells little of the others
	cold        int       // how many were done then
}

// progress begins a piece of work of total units.
func (a *app) progress(total int, label string) *progress {
	p := &progress{label: label, total: total, out: a.stderr, begun: time.Now(), told: time.Now()}
	if isTerminal(a.stderr) {
		p.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(a.stderr),
			progressbar.OptionSetDescription(label),
			progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(false), // the note tells the time that is left
			progressbar.OptionSetElapsedTime(false),
			progressbar.OptionSetWidth(24),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
		)
	}
	return p
}

// From says that n units were done before the work began.
func (p *progress) From(n int) {
	p.done += n
	if p.bar != nil {
		_ = p.bar.Set(p.done)
	}
}

// Add says that n more units are done, and what there is to note (the loss, say).
func (p *progress) Add(n int, note string) {
	p.done, p.note = p.done+n, note
	if p.warm.IsZero() {
		p.warm, p.cold = time.Now(), p.done
	}
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

// left is the time that the rest will take at the pace so far, the first unit aside; 0
// where nothing tells it.
func (p *progress) left() time.Duration {
	if p.warm.IsZero() || p.done <= p.cold {
		return 0
	}
	each := time.Since(p.warm) / time.Duration(p.done-p.cold)
	return each * time.Duration(p.total-p.done)
}

func (p *progress) title() string {
	title := p.label
	if p.note != "" {
		title += ": " + p.note
	}
	if left := p.left(); left >= time.Second {
		title += ", " + longTime(left) + " left"
	}
	return title
}

// longTime writes a duration in its two largest units: 3d 4h, 5h 10m, 12m 3s, 8s.
func longTime(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	switch days, hours, minutes := s/86400, s/3600, s/60; {
	case days > 0:
		return fmt.Sprintf("%dd %dh", days, hours%24)
	case hours > 0:
		return fmt.Sprintf("%dh %dm", hours, minutes%60)
	case minutes > 0:
		return fmt.Sprintf("%dm %ds", minutes, s%60)
	}
	return fmt.Sprintf("%ds", s)
}

func (p *progress) line() {
	p.told = time.Now()
	_, _ = fmt.Fprintf(p.out, "%s %d/%d, %.1f s\n", p.title(), p.done, p.total, time.Since(p.begun).Seconds())
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
