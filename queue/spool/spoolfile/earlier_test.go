package spoolfile

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

// fixture returns a copy of a file of an earlier release; see testdata/make.go.
func fixture(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestEarlierQueue: the file of an earlier release's embedded queue has its unreleased records,
// each key in order and duplicates without body, and its mode and canary. New records follow. Its
// number of partitions does not matter.
func TestEarlierQueue(t *testing.T) {
	path := fixture(t, "queue.db")
	if n, err := Unreleased(t.Context(), path); err != nil || n != 40 {
		t.Errorf("%d records are unreleased, want 40 (error %v)", n, err)
	}
	q, _ := mustOpen(t, path, Options{})
	mode, canary, ok := q.EarlierSettings()
	want := control.Canary{Version: 3, Percent: 50, At: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
		By: "ana", Reason: "half"}
	if !ok || mode != control.ModeReadOnly || canary != want {
		t.Errorf("the settings are %s and %+v, kept %v", mode, canary, ok)
	}
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		mustAppend(t, q, testRequest(key, 8))
	}
	c := mustOpenReader(t, q)
	records := mustNext(t, c, 45)
	last, firsts := map[string]int64{}, map[string]hookgate.RequestID{}
	for _, r := range records {
		before, seen := last[r.OrderingKey]
		switch {
		case r.Corrupt != nil:
			t.Fatalf("a record is corrupt: %v", r.Corrupt)
		case !r.DuplicateOf.IsZero():
			if r.Sequence%4 != 0 || len(r.Body) != 0 || seen && r.Sequence != before {
				t.Errorf("a duplicate came as %s with %d bytes behind %d", r.MessageID, len(r.Body), before)
			}
			if first, ok := firsts[r.MessageID]; ok && r.DuplicateOf != first {
				t.Errorf("%s is a duplicate of %s, want %s", r.MessageID, r.DuplicateOf, first)
			}
		case seen && r.Sequence != before+1:
			t.Errorf("%s came behind %d", r.MessageID, before)
		case r.Sequence < 8 && string(r.Body) != fmt.Sprintf(`{"n":%d}`, r.Sequence):
			t.Errorf("%s has the body %q", r.MessageID, r.Body)
		}
		last[r.OrderingKey] = r.Sequence
		if r.DuplicateOf.IsZero() {
			firsts[r.MessageID] = r.RequestID
		}
	}
	for key, n := range last {
		if n != 8 {
			t.Errorf("the last record of %s is %d", key, n)
		}
	}
	mustCommit(t, c, records)
	q.Close()
	if n, err := Unreleased(t.Context(), path); err != nil || n != 0 {
		t.Errorf("%d records are left (error %v)", n, err)
	}
	q, _ = mustOpen(t, path, Options{})
	if mode, again, ok := q.EarlierSettings(); !ok || mode != control.ModeReadOnly || again != want {
		t.Error("the settings of the emptied file are gone")
	}
	if r := mustAppend(t, q, testRequest("a", 9)); r.Position.Compare(records[44].Position) <= 0 {
		t.Errorf("position %s was given out again", r.Position)
	}
}

// TestEarlierSpool: the spool of an earlier release has all its records.
func TestEarlierSpool(t *testing.T) {
	path := fixture(t, "spool.db")
	q, _ := mustOpen(t, path, Options{})
	if _, _, ok := q.EarlierSettings(); ok {
		t.Error("a spool has settings")
	}
	r := mustNext(t, mustOpenReader(t, q), 6)
	if r[0].MessageID != "a-0" || r[1].MessageID != "a-0" || r[1].IsRetry() || len(r[1].Body) == 0 {
		t.Errorf("first came %+v and %+v", r[0].Request, r[1].Request)
	}
	if r[2].RetryOf != r[0].RequestID || !r[2].RetriedAt.Equal(r[0].ReceivedAt.Add(time.Hour)) {
		t.Errorf("the retry came as %+v", r[2].Request)
	}
	if events, err := r[3].Split(); err != nil || len(events) != 2 || events[1].MessageID != "y" ||
		string(events[1].Body) != "2" {
		t.Errorf("the request of two events came as %+v (error %v)", events, err)
	}
	if !r[4].TypeUnproven || r[5].OrderingKey != "b" {
		t.Errorf("last came %+v and %+v", r[4].Request, r[5].Request)
	}
}

// TestUnreleased: a file that does not exist or is empty has no records, and is not created.
func TestUnreleased(t *testing.T) {
	path := newPath(t)
	if n, err := Unreleased(t.Context(), path); err != nil || n != 0 {
		t.Errorf("a file that does not exist holds %d records (error %v)", n, err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("it was made (error %v)", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := Unreleased(t.Context(), path); err != nil || n != 0 {
		t.Errorf("an empty file holds %d records (error %v)", n, err)
	}
}
