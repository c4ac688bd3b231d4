package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

func exampleLink() (ChainLink, []Entry) {
	at := time.UnixMicro(1_700_000_000_000_001)
	link := ChainLink{
		Previous: [32]byte{1, 2, 3}, Partition: 7, Sequence: 42, ProcessedAt: at,
		PersistedAt: at.Add(time.Millisecond),
		Attempts:    2, LastError: "busy", Worker: "gate/1",
	}
	entry := func(id string, outcome hookgate.Stage) Entry {
		return Entry{
			Request: &hookgate.Request{
				RequestID: hookgate.RequestID{9}, Identity: hookgate.Identity{Source: "default",
					EventType: "order.paid", MessageID: id},
				OrderingKey: "k", Sequence: hookgate.NoSequence, RemoteAddr: "192.0.2.1:1", ReceivedAt: at,
			},
			Outcome: outcome, EnqueuedAt: at, Position: "0-1", HeadersJSON: "[]",
			BodySHA256: sha256.Sum256([]byte(id)),
		}
	}
	entries := []Entry{entry("m-1", hookgate.StagePersisted),
		entry("m-2", hookgate.StageDuplicate)}
	entries[1].SpooledAt = at
	entries[1].RetryOf, entries[1].RetriedAt = hookgate.RequestID{8}, at.Add(time.Second)
	return link, entries
}

func sum(link ChainLink, entries []Entry) [32]byte {
	var h linkHash
	h.begin(&link)
	for i := range entries {
		h.add(&entries[i])
	}
	h.addPurge(hookgate.RequestID{7}, "ops", "nobody wants it")
	return h.result()
}

// TestLinkHashNeverChanges: every later version must be able to verify stored chains. A separate
// program computed the expected value from the layout in the comment of ChainLink.
func TestLinkHashNeverChanges(t *testing.T) {
	const want = "351219a8306ed65c9660b56c61f734c555f1f41ed84d67d33a22e78cbc2d940a"
	if got := sum(exampleLink()); hex.EncodeToString(got[:]) != want {
		t.Errorf("the hash of the example is %x, want %s", got, want)
	}
}

// TestLinkHashCoversEverything changes each field of a link and of an entry in turn. Each change
// must change the hash, except for the fields of a Request listed as not covered.
func TestLinkHashCoversEverything(t *testing.T) {
	before := sum(exampleLink())
	change := func(v reflect.Value) {
		switch p := v.Addr().Interface().(type) {
		case *time.Time:
			*p = p.Add(time.Microsecond)
		case *[]hookgate.Header:
			*p = append(*p, hookgate.Header{Name: "X"})
		case *[]byte:
			*p = append(*p, 'x')
		default:
			switch v.Kind() {
			case reflect.String:
				v.SetString(v.String() + "x")
			case reflect.Bool:
				v.SetBool(!v.Bool())
			case reflect.Int, reflect.Int64:
				v.SetInt(v.Int() + 1)
			case reflect.Array:
				v.Index(31 % v.Len()).SetUint(77)
			default:
				t.Fatalf("no way to change a %s", v.Type())
			}
		}
	}
	fields := func(name string, of func(*ChainLink, []Entry) reflect.Value,
		without ...string) {
		link, entries := exampleLink()
		kind := of(&link, entries).Type()
		for i := range kind.NumField() {
			field := kind.Field(i).Name
			if field == "Request" || field == "Identity" {
				continue // the test changes their fields one by one
			}
			link, entries := exampleLink()
			change(of(&link, entries).Field(i))
			counts := true
			for _, w := range without {
				counts = counts && field != w
			}
			if (sum(link, entries) != before) != counts {
				t.Errorf("a change of %s.%s shows: %v, want %v", name, field, !counts, counts)
			}
		}
	}
	fields("Link", func(l *ChainLink,
		_ []Entry) reflect.Value {
		return reflect.ValueOf(l).Elem()
	})
	fields("Row", func(_ *ChainLink,
		e []Entry) reflect.Value {
		return reflect.ValueOf(&e[1]).Elem()
	},
		"ID", "Batch", "Partition", "ProcessedAt", "PersistedAt", "Worker", "Attempts", "LastError")
	fields("Request", func(_ *ChainLink, e []Entry) reflect.Value {
		return reflect.ValueOf(e[1].Request).Elem()
	},
		"Body", "Headers", "Parts", "TypeUnproven", "Keyed")
	fields("Identity", func(_ *ChainLink, e []Entry) reflect.Value {
		return reflect.ValueOf(&e[1].Request.Identity).Elem()
	})
	link, entries := exampleLink()
	entries[0], entries[1] = entries[1], entries[0]
	if sum(link, entries) == before {
		t.Error("the order of the entries does not show")
	}
	if _, entries := exampleLink(); sum(link, entries[:1]) == before {
		t.Error("an entry less does not show")
	}
	purged := func(id hookgate.RequestID, by, reason string) [32]byte {
		var h linkHash
		h.begin(&link)
		h.addPurge(id, by, reason)
		return h.result()
	}
	plain := purged(hookgate.RequestID{7}, "ops", "why")
	for _, other := range [][32]byte{purged(hookgate.RequestID{6}, "ops", "why"),
		purged(hookgate.RequestID{7}, "op", "why"),
		purged(hookgate.RequestID{7}, "ops", "wh"), purged(hookgate.RequestID{7}, "opsw", "hy")} {
		if other == plain {
			t.Error("a change of a purge does not show")
		}
	}
	_, entries = exampleLink()
	entries[0].Source, entries[0].EventType = entries[0].Source+entries[0].EventType, ""
	if sum(link, entries) == before {
		t.Error("text that moves from one field to the next does not show")
	}
}
