package storetest

import (
	"maps"
	"testing"

	"github.com/hookgate/hookgate/store/entry"
)

// Columns checks that the tables of the log have exactly the columns of store/entry. typesOf
// returns the columns of a table with their SQL types, and names has the SQL name of each type.
func Columns(t *testing.T, typesOf func(table string) map[string]string,
	names map[entry.Type]string) {
	for table, which := range map[string]entry.Table{"webhook_events": entry.Events,
		"webhook_removed_events": entry.RemovedEvents, "webhook_requests": entry.Requests} {
		have := typesOf(table)
		if which == entry.RemovedEvents {
			delete(have, "removed_at")
		}
		for _, c := range entry.ColumnsOf(which) {
			if have[c.Name] != names[c.Type] {
				t.Errorf("%s.%s has the type %q, want %q", table, c.Name, have[c.Name], names[c.Type])
			}
			delete(have, c.Name)
		}
		for name := range maps.Keys(have) {
			t.Errorf("%s.%s is not among the columns of store/entry", table, name)
		}
	}
}
