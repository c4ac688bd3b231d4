// Package progress shows how far long work has come: on a terminal a bar, elsewhere a line now and
// then.
package progress

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/hookgate/hookgate/internal/terminal"
)

// Interval is the time between two lines where there is no terminal.
const Interval = 5 * time.Second

const (
	width   = 20
	redrawn = 100 * time.Millisecond // a bar is redrawn at most that often
)

// Bar shows the progress of work. It is not for concurrent use.
type Bar struct {
	to       io.Writer
	terminal *os.File // nil: lines
	total    int64
	bar      *progressbar.ProgressBar // nil until there is something to show
	next     time.Time                // when the next line is due
}

// New returns a bar that shows nothing yet. total is the amount of work; 0 if it is not known.
func New(to io.Writer, total int64) *Bar {
	b := &Bar{to: to, total: total, next: time.Now().Add(Interval)}
	if file, ok := terminal.Of(to); ok {
		b.terminal = file
	}
	return b
}

// Begin begins a new part of the work, of the given amount, and says so in a line.
func (b *Bar) Begin(total int64, text string) {
	b.Done()
	b.total = total
	if b.terminal == nil {
		fmt.Fprintln(b.to, text)
		return
	}
	b.draw()
	b.bar.Describe(text)
	b.bar.RenderBlank()
}

// Total corrects the amount of work.
func (b *Bar) Total(total int64) {
	if b.bar != nil && total > 0 && total != b.total {
		b.bar.ChangeMax64(total)
	}
	b.total = total
}

// Set shows that so much is done. A full bar would vanish, so it stays just below that until Done.
func (b *Bar) Set(done int64, text string) {
	if b.terminal == nil {
		if now := time.Now(); !now.Before(b.next) {
			b.next = now.Add(Interval)
			fmt.Fprintln(b.to, text)
		}
		return
	}
	if b.bar == nil {
		b.draw()
	}
	b.bar.Describe(text)
	if b.total > 0 {
		done = min(done, b.total-1)
	}
	b.bar.Set64(max(0, done))
}

func (b *Bar) draw() {
	total := b.total
	if total <= 0 {
		total = -1
	}
	b.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(b.terminal),
		progressbar.OptionSetWidth(width), progressbar.OptionClearOnFinish(),
		progressbar.OptionThrottle(redrawn))
}

// Done removes the bar from the terminal. It may be called more than once, and Set may follow.
func (b *Bar) Done() {
	if b.bar != nil {
		b.bar.Finish()
		b.bar.Clear()
		b.bar = nil
	}
}
