package show

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/terminal"
)

// EventLines prints events as they come, a line for each. A column gets wider when a longer text
// comes. Its methods may be called concurrently.
type EventLines struct {
	out io.Writer

	mu     sync.Mutex // guards widths, and the order of lines
	widths []int
}

// maxWidth bounds a column. A longer text moves the rest of its line.
const maxWidth = 40

// NewEventLines returns EventLines to out.
func NewEventLines(out io.Writer) *EventLines { return &EventLines{out: out} }

// columns joins texts to the beginning of a line.
func (l *EventLines) columns(texts ...string) string {
	var b strings.Builder
	for i, text := range texts {
		text = cell(text)
		if i == len(l.widths) {
			l.widths = append(l.widths, 0)
		}
		n := utf8.RuneCountInString(text)
		l.widths[i] = max(l.widths[i], min(n, maxWidth))
		b.WriteString(text + strings.Repeat(" ", max(0, l.widths[i]-n)+2))
	}
	return b.String()
}

// Event prints an event of the log.
func (l *EventLines) Event(e *api.LogEvent) error { return l.event(e, "") }

// Pulled prints an event of a lease.
func (l *EventLines) Pulled(e *api.PulledEvent) error {
	again := ""
	if e.Redelivery > 0 {
		again += fmt.Sprint("  redelivery ", e.Redelivery)
	}
	if e.Attempt > 1 {
		again += fmt.Sprint("  attempt ", e.Attempt)
	}
	return l.event(&e.LogEvent, again)
}

func (l *EventLines) event(e *api.LogEvent, more string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := fmt.Fprintf(l.out, "%s%s%s\n", l.columns(e.ID, milliseconds(e.ReceivedAt), e.Source,
		e.EventType, e.MessageID, e.OrderingKey), many(len(e.Body), "byte", "bytes"), more)
	return err
}

// Forwarded prints an answer of an application to an event.
func (l *EventLines) Forwarded(e *api.PulledEvent, a hookgate.Answer, took time.Duration) {
	colour, status := terminal.Red, "---"
	switch {
	case a.Verdict == hookgate.VerdictDelivered:
		colour = terminal.Green
	case a.Status/100 == 3 || a.Status/100 == 4:
		colour = terminal.Yellow
	}
	if a.Status != 0 {
		status = fmt.Sprint(a.Status)
	}
	reason := strings.TrimPrefix(a.Reason, status+" ")
	if reason != "" {
		reason = "  " + cell(beginning(reason))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprint(l.out, l.columns(time.Now().Format(time.TimeOnly), e.Source, e.EventType, e.MessageID))
	terminal.Paint(l.out, colour, status)
	fmt.Fprintf(l.out, "  %6s%s\n", rounded(took), reason)
}

// rounded is a duration for people.
func rounded(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return d.Round(time.Second).String()
}
