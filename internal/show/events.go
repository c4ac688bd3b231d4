package show

import (
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/hookgate/hookgate/api"
)

// Events prints events.
func Events(out io.Writer, events iter.Seq2[api.Event, error]) error {
	t := NewTable(out, "ID", "RECEIVED", "SOURCE", "TYPE", "MESSAGE ID", "KEY", "SEQ", "BYTES")
	for e, err := range events {
		if err != nil {
			return err
		}
		sequence := "-"
		if e.Sequence != nil {
			sequence = fmt.Sprint(*e.Sequence)
		}
		t.Row(e.ID, milliseconds(e.ReceivedAt), e.Source, e.EventType, e.MessageID, e.OrderingKey,
			sequence, e.Size)
	}
	return t.Flush()
}

// milliseconds is a time to the millisecond.
func milliseconds(t api.Time) string { return t.Format("2006-01-02T15:04:05.000Z07:00") }

// Trails prints the lineage of requests.
func Trails(out io.Writer, requests []api.RequestTrail) error {
	for _, r := range requests {
		fmt.Fprintf(out, "request %s\n", r.RequestID)
		t := NewTable(out)
		for i, s := range r.Stages {
			since := ""
			if i > 0 {
				took := s.Timestamp.Sub(r.Stages[0].Timestamp.Time)
				since = fmt.Sprintf("+%.3f ms", float64(took.Microseconds())/1000)
				if took >= 10*time.Second {
					since = "+" + took.Round(100*time.Millisecond).String()
				}
			}
			text, ok := deliveryText(&s)
			if !ok {
				text = string(s.Metadata)
			}
			t.Row("  "+string(s.Stage), s.Timestamp.String(), since, text)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}
