package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// TestRejectedInGroup: in a group of events those that PostgreSQL cannot store become dead letters.
// All others are stored in order, with one more transaction. A repetition of such an event becomes
// a duplicate of its open dead letter, unless its body differs: the characters that PostgreSQL
// cannot store may be what distinguishes the two identities.
func TestRejectedInGroup(t *testing.T) {
	for _, size := range []int{1, 2, 7, 100} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			url := newDatabase(t)
			s, _ := openStore(t, url)
			defer s.Close()
			mustApply(t, s, directBatch(1, 0, 3), 3) // the next batch is optimistic again
			commits := 0
			s.failCommit = func(done bool) error {
				if !done {
					commits++
				}
				return nil
			}
			b := directBatch(1, 3, size)
			var bad []int
			for i := 0; i < size; i += 33 {
				b.Records[i].MessageID = fmt.Sprintf("bad\x00%d", i)
				bad = append(bad, i)
			}
			o, err := s.Apply(t.Context(), b)
			if err != nil || o.Stored != size-len(bad) || commits > 2 {
				t.Fatalf("apply stored %d with %d commits (error %v), want %d with 2 at most", o.Stored,
					commits, err, size-len(bad))
			}
			last := int64(0)
			for i, r := range o.Results {
				if (r.Rejected != nil) != slices.Contains(bad, i) || r.ID <= last || !r.DuplicateOf.IsZero() {
					t.Errorf("record %d has the result %+v behind id %d", i, r, last)
				}
				last = r.ID
			}
			// Repeating the call, as after an unknown outcome, changes nothing.
			again, err := s.Apply(t.Context(), b)
			if err != nil || again.Stored != 0 {
				t.Errorf("the same again did %+v (error %v)", again, err)
			}
			for i := range again.Results {
				if again.Results[i].ID != o.Results[i].ID ||
					(again.Results[i].Rejected != nil) != (o.Results[i].Rejected != nil) {
					t.Errorf("record %d has the result %+v, and had %+v", i, again.Results[i], o.Results[i])
				}
			}
			resent := directBatch(1, 1000, 4)
			for i := range resent.Records[:3] {
				resent.Records[i].Identity, resent.Records[i].Body = b.Records[0].Identity, b.Records[0].Body
			}
			resent.Records[1].Body = []byte("another body")
			resent.Records[2].RetryOf, resent.Records[2].RetriedAt = b.Records[0].RequestID, time.Now()
			o, err = s.Apply(t.Context(), resent)
			if err != nil || o.Stored != 1 {
				t.Fatalf("apply of repetitions did %+v (error %v)", o, err)
			}
			if r := o.Results[0]; r.Rejected != nil || r.DuplicateOf != b.Records[0].RequestID {
				t.Errorf("a repetition has the result %+v, want a duplicate of %s", r, b.Records[0].RequestID)
			}
			for i := 1; i < 3; i++ {
				if r := o.Results[i]; r.Rejected == nil || !r.DuplicateOf.IsZero() {
					t.Errorf("record %d has the result %+v, want a rejection", i, r)
				}
			}
			want := hookgate.StoreCounts{Events: int64(3 + size - len(bad) + 1), Duplicates: 1,
				DeadLetters: int64(len(bad) + 2)}
			if got, err := s.Counts(t.Context()); err != nil || got != want {
				t.Errorf("counts are %+v (error %v), want %+v", got, err, want)
			}
			if err := s.Ping(t.Context()); err != nil {
				t.Errorf("a rejection is taken for a failure of the store: %v", err)
			}
			if err := verified(url); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDeadLetterRefused: if PostgreSQL also rejects the dead letter, nothing is stored, and Apply
// returns ErrRejected.
func TestDeadLetterRefused(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	outsider := connect(t, url)
	if err := execute(outsider, `CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN RAISE EXCEPTION 'fault' USING ERRCODE = '23514'; END $$;
		CREATE TRIGGER fault BEFORE INSERT ON webhook_requests EXECUTE FUNCTION fault()`); err != nil {
		t.Fatal(err)
	}
	b := directBatch(1, 0, 3)
	b.Records[1].MessageID = "bad\x00"
	for range 2 {
		if o, err := s.Apply(t.Context(), b); !errors.Is(err, hookgate.ErrRejected) || o.Stored != 0 {
			t.Errorf("apply did %+v (error %v), want ErrRejected", o, err)
		}
	}
	if got, err := s.Counts(t.Context()); err != nil || got != (hookgate.StoreCounts{}) {
		t.Errorf("counts are %+v (error %v), want none", got, err)
	}
	if err := execute(outsider, "DROP TRIGGER fault ON webhook_requests"); err != nil {
		t.Fatal(err)
	}
	mustApply(t, s, b, 2)
	if err := verified(url); err != nil {
		t.Error(err)
	}
}

// TestKeyClash: an event whose key belongs to another event is rejected and is no duplicate. Nobody
// can construct two such events, so the test changes the message id of the stored one.
func TestKeyClash(t *testing.T) {
	url := newDatabase(t)
	s, _ := openStore(t, url)
	defer s.Close()
	b := directBatch(1, 0, 2)
	mustApply(t, s, b, 2)
	conn := connect(t, url)
	if err := execute(conn, "SET session_replication_role = replica;"+
		" UPDATE webhook_events SET message_id = 'forged' WHERE message_id = '1-0'"); err != nil {
		t.Fatal(err)
	}
	again := directBatch(1, 0, 3)
	o, err := s.Apply(t.Context(), again)
	if err != nil || o.Stored != 1 {
		t.Fatalf("apply did %+v (error %v), want one event stored", o, err)
	}
	if r := o.Results[0]; r.Rejected == nil || !strings.Contains(r.Rejected.Error(),
		"two identities with one key") || !r.DuplicateOf.IsZero() {
		t.Errorf("the clash has the result %+v", r)
	}
	if r := o.Results[1]; r.Rejected != nil || r.DuplicateOf != b.Records[1].RequestID {
		t.Errorf("the duplicate has the result %+v", r)
	}
}
