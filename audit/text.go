package audit

import (
	"fmt"
	"io"
	"time"
)

// WriteText writes the result of a verification that found no break.
func (a Audit) WriteText(out io.Writer) error {
	purged := ""
	if a.Purged > 0 {
		purged = fmt.Sprintf(" (%d purged)", a.Purged)
	}
	links := ""
	if a.Links > 0 {
		links = fmt.Sprintf(" and %d links of earlier releases", a.Links)
	}
	fmt.Fprintf(out, "OK: %d entries%s, %d events, %d duplicates, %d dead letters%s,"+
		" %d rows of the admin trail\n",
		a.Entries, links, a.Events, a.Duplicates, a.DeadLetters, purged, a.Actions)
	if r := a.Removed; r.Links+r.Entries > 0 {
		fmt.Fprintf(out, "removed by retention: %d entries, %d links of earlier releases,"+
			" with %d events, %d duplicates and %d purged dead letters, stored until %s\n",
			r.Entries, r.Links, r.Events, r.Duplicates, r.DeadLetters, r.Until.Format(time.RFC3339))
	}
	if a.Bodies > 0 {
		fmt.Fprintf(out, "removed by retention: the bodies of %d of the events, stored until %s\n",
			a.Bodies, a.BodiesUntil.Format(time.RFC3339))
	}
	if a.Tests > 0 {
		fmt.Fprintf(out, "removed test traffic: the bodies of %d of the events\n", a.Tests)
	}
	_, err := fmt.Fprintf(out, "head %x\n", a.Head)
	return err
}
