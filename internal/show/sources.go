package show

import (
	"cmp"
	"fmt"
	"io"

	"github.com/hookgate/hookgate/api"
)

// Sources prints sources with their traffic.
func Sources(out io.Writer, answer api.Sources) error {
	t := NewTable(out, "NAME", "KIND", "URL", "ACCEPTED", "DUPLICATES", "REJECTED", "LAST",
		"AUTHENTICATED BY")
	for _, s := range answer.Sources {
		t.Row(s.Name, s.Kind, cmp.Or(s.URL, s.Path), s.Accepted, s.Duplicates, s.Refused,
			TimeOr(s.LastAt, "-"), s.Proof)
	}
	printRefusals(t, answer.Sources)
	printCredentials(t, answer.Sources)
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nCounted since %s.\n", TimeOr(&answer.Since, ""))
	return err
}

// printRefusals prints why requests were rejected, if any were.
func printRefusals(t *Table, sources []api.Source) {
	titled := false
	for _, s := range sources {
		for _, r := range s.Refusals {
			if !titled {
				t.title("REJECTED", "STATUS", "REQUESTS", "REASON")
				titled = true
			}
			t.Row(s.Name, r.Status, r.Count, r.Reason)
		}
	}
}

// printCredentials prints when each secret was last used, for sources that have several.
func printCredentials(t *Table, sources []api.Source) {
	titled := false
	for _, s := range sources {
		if len(s.Credentials) < 2 {
			continue
		}
		for _, c := range s.Credentials {
			if !titled {
				t.title("SECRETS", "SETTING", "POSITION", "LAST USED")
				titled = true
			}
			t.Row(s.Name, c.Setting, c.Position, TimeOr(c.LastAt, "not since the start"))
		}
	}
}
