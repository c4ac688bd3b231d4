package audit_test

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
)

var previousHash = [32]byte{1, 2, 3}

func exampleEntry() *audit.Entry {
	at := time.UnixMicro(1_700_000_000_000_001)
	after := func(n int) time.Time { return at.Add(time.Duration(n) * time.Microsecond) }
	return &audit.Entry{
		ID: 42, Batch: 40,
		Request: &hookgate.Request{
			RequestID: hookgate.RequestID{9}, Identity: hookgate.Identity{Source: "default",
				EventType: "order.paid", MessageID: "m-1"},
			OrderingKey: "k", Keyed: true, Sequence: hookgate.NoSequence, RemoteAddr: "192.0.2.1:1",
			ReceivedAt: at,
			SpooledAt:  after(2), RetryOf: hookgate.RequestID{8}, RetriedAt: after(3),
		},
		Outcome: hookgate.StagePersisted, EnqueuedAt: after(1), Partition: 7, Position: "0-1",
		FirstRequestID: hookgate.RequestID{5},
		HeadersJSON:    "[]", Reason: "why", BodySHA256: sha256.Sum256([]byte("m-1")),
		ProcessedAt: after(4),
		PersistedAt: after(5),
		Worker:      "gate/1", Attempts: 2, LastError: "busy",
	}
}

// TestEntryHashNeverChanges: every later version must be able to verify a stored log. A separate
// program computed the expected values from the layout in the comment of Entry.
func TestEntryHashNeverChanges(t *testing.T) {
	var h audit.EntryHash
	at := time.UnixMicro(1_700_000_000_000_001)
	heads := []audit.ChainHead{{Partition: 1, Sequence: 5, Hash: previousHash},
		{Partition: 3, Sequence: 6}}
	for _, test := range []struct {
		name string
		got  [32]byte
		want string
	}{
		{"entry", h.Entry(previousHash, exampleEntry()),
			"acdb17b6cdaabb6070356a8958201c1fbcba288fb7ab71371e559f09fd68f6dd"},
		{"purge", h.Purge(previousHash, 42, hookgate.RequestID{7}, "ops", "why", at),
			"f956c9f7654a184ff266c23e3253ff3365d28b5f1f780618e3ed748b2763b962"},
		{"anchor", h.Anchor(previousHash, 42, 3, [32]byte{4}),
			"2fd3d3ffa9b1c3e822dc64ca5a175cdcd9e70c22d4373d4591b3f2ec74a6b241"},
		{"first", audit.FirstHash(heads),
			"b8af8f7eddd060d0f426833053e97693e7b487b647a1dc62a038d3718550d30e"},
	} {
		if got := hex.EncodeToString(test.got[:]); got != test.want {
			t.Errorf("the hash of the %s is %s, want %s", test.name, got, test.want)
		}
	}
}

// TestEntryHashCoversEverything changes each field of an entry in turn. Each change must change the
// hash, except for the fields listed as not covered.
func TestEntryHashCoversEverything(t *testing.T) {
	var h audit.EntryHash
	before := h.Entry(previousHash, exampleEntry())
	without := map[string]bool{"Body": true, "Headers": true, "Parts": true, "TypeUnproven": true}
	check := func(of func(*audit.Entry) reflect.Value) {
		kind := of(exampleEntry()).Type()
		for i := range kind.NumField() {
			name := kind.Field(i).Name
			if name == "Request" || name == "Identity" {
				continue // the test changes their fields one by one
			}
			e := exampleEntry()
			v := of(e).Field(i)
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
				case reflect.Array:
					v.Index(v.Len() - 1).SetUint(77)
				default:
					v.SetInt(v.Int() + 1)
				}
			}
			if changed := h.Entry(previousHash, e) != before; changed == without[name] {
				t.Errorf("a change of %s.%s shows: %v", kind.Name(), name, changed)
			}
		}
	}
	check(func(e *audit.Entry) reflect.Value { return reflect.ValueOf(e).Elem() })
	check(func(e *audit.Entry) reflect.Value { return reflect.ValueOf(e.Request).Elem() })
	check(func(e *audit.Entry) reflect.Value { return reflect.ValueOf(&e.Identity).Elem() })
	if h.Entry([32]byte{}, exampleEntry()) == before {
		t.Error("the hash of the entry before does not show")
	}
}
