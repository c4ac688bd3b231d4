package show

import (
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/hookgate/hookgate/api"
)

// reasonWidth is how many characters of a reason a listing shows: its end, which says most.
const reasonWidth = 80

// DeadLetters prints dead letters.
func DeadLetters(out io.Writer, letters iter.Seq2[api.DeadLetter, error]) error {
	t := NewTable(out, "ID", "STATE", "FAILED", "SOURCE", "TYPE", "MESSAGE ID", "KEY", "BYTES",
		"REASON")
	for l, err := range letters {
		if err != nil {
			return err
		}
		reason := []rune(l.Reason)
		if len(reason) > reasonWidth {
			reason = append([]rune{'…'}, reason[len(reason)-reasonWidth+1:]...)
		}
		t.Row(l.ID, l.State, l.DeadLetteredAt, l.Source, l.EventType, l.MessageID, l.OrderingKey, l.Size,
			strconv.Quote(string(reason)))
	}
	return t.Flush()
}

// DeadLetter prints a dead letter, the history of its identity, and the lineage of its requests.
func DeadLetter(out io.Writer, d *api.DeadLetterDetails) error {
	l := &d.DeadLetter
	t := NewTable(out)
	t.Row("dead letter", fmt.Sprintf("%s, %s", l.ID, l.State))
	if l.MessageID == "" {
		t.Row("event", "unknown: the queue's entry could not be decoded, so it cannot be retried")
	} else {
		t.Row("event", fmt.Sprintf("%s/%s/%s", l.Source, l.EventType, l.MessageID))
		t.Row("ordering key", l.OrderingKey)
		if l.Sequence != nil {
			t.Row("sequence", *l.Sequence)
		}
		t.Row("received", fmt.Sprintf("%s from %s", TimeOr(&l.ReceivedAt, ""), l.RemoteAddr))
	}
	t.Row("body", fmt.Sprintf("%d bytes, sha256 %s", l.Size, l.SHA256))
	t.Row("queue", fmt.Sprintf("partition %d, position %s", l.Partition, l.Position))
	if err := t.Flush(); err != nil {
		return err
	}
	var text strings.Builder
	for _, h := range d.History {
		fmt.Fprintf(&text, "\nfailed %s, request %s (dead letter %s, %s)\n  %s\n",
			TimeOr(&h.DeadLetteredAt, ""), h.RequestID, h.ID, h.State, h.Reason)
		if h.RetryOf != "" {
			fmt.Fprintf(&text, "  retry of %s at %s\n", h.RetryOf, TimeOr(&h.RetriedAt, ""))
		}
		if h.Attempts > 1 {
			fmt.Fprintf(&text, "  stored as a dead letter at attempt %d, after: %s\n", h.Attempts,
				h.LastError)
		}
		if !h.PurgedAt.IsZero() {
			fmt.Fprintf(&text, "  purged at %s by %s: %s\n", TimeOr(&h.PurgedAt, ""), h.PurgedBy,
				h.PurgeReason)
		}
	}
	if _, err := fmt.Fprintln(out, text.String()); err != nil {
		return err
	}
	return Trails(out, d.Requests)
}
