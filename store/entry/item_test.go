package entry

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
)

// TestKey: stores keep keys for ever, so their form must not change. The range of a message id
// contains all of its keys and none of the other message id's.
func TestKey(t *testing.T) {
	id := hookgate.Identity{Source: "default", EventType: "order.paid", MessageID: "m-1"}
	key := audit.IdentityKey(id)
	const want = "a461b472cb41a9ec2c0ff00e008ed09f4935182b53d8f860"
	if got := hex.EncodeToString(key[:]); got != want {
		t.Errorf("the key of %s is %s, want %s", id, got, want)
	}
	low, high := audit.MessageRange("m-1")
	in := func(key [24]byte) bool {
		return bytes.Compare(key[:], low[:]) >= 0 && bytes.Compare(key[:], high[:]) <= 0
	}
	other := id
	other.EventType, other.Source = "order.sent", "shop"
	if !in(key) || !in(audit.IdentityKey(other)) || audit.IdentityKey(other) == key {
		t.Error("two events of a message id do not have two keys in its range")
	}
	other.MessageID = "m-2"
	if in(audit.IdentityKey(other)) {
		t.Error("an event of another message id lies in the range")
	}
}

// TestItems: items come in the order of the batch, then its dead letters. A record of no queue has
// no position and takes its times from the commit.
func TestItems(t *testing.T) {
	first := hookgate.RequestID{1}
	b := &hookgate.Batch{
		Records: []hookgate.Record{
			{Partition: 3, Request: hookgate.Request{Body: []byte("b")}},
			{Partition: 1, Position: hookgate.Position{Major: 7, Minor: 2}, DuplicateOf: first},
		},
		Dead: []hookgate.DeadLetter{{Record: hookgate.Record{Partition: 0}, Reason: "why"}},
	}
	items, err := Items(b)
	if err != nil || len(items) != 3 {
		t.Fatalf("got %d items (error %v), want 3", len(items), err)
	}
	event, duplicate, dead := &items[0], &items[1], &items[2]
	if event.Outcome != hookgate.StagePersisted || event.Position != "" || event.Index != 0 ||
		event.Partition != 3 {
		t.Errorf("the event is %+v", event)
	}
	if duplicate.Outcome != hookgate.StageDuplicate || duplicate.FirstRequestID != first ||
		duplicate.Position != "7-2" {
		t.Errorf("the duplicate is %+v", duplicate)
	}
	if dead.Outcome != hookgate.StageDeadLettered || dead.Reason != "why" || dead.Index != -1 {
		t.Errorf("the dead letter is %+v", dead)
	}
	at := time.UnixMicro(1_800_000_000_000_000)
	event.Place(40, 39, at)
	if event.ID != 40 || event.Batch != 39 || event.EnqueuedAt != at || event.ProcessedAt != at ||
		event.PersistedAt != at {
		t.Errorf("the event that was placed is %+v", event)
	}
	b.Epochs = map[int]hookgate.Epoch{0: 1, 1: 1}
	if _, err := Items(b); err == nil || errors.Is(err, hookgate.ErrRejected) {
		t.Errorf("without the epoch of a partition the error is %v", err)
	}
	b.Epochs = nil
	b.Records[0].Corrupt = errors.New("torn")
	if _, err := Items(b); !errors.Is(err, hookgate.ErrRejected) {
		t.Errorf("with a corrupt record the error is %v, want ErrRejected", err)
	}
}
