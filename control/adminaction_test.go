package control_test

import (
	"encoding/hex"
	"reflect"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
)

func exampleAction() control.AdminAction {
	return control.AdminAction{
		Sequence: 42, Previous: [32]byte{1, 2, 3}, At: time.UnixMicro(1_700_000_000_000_001),
		RequestID: hookgate.RequestID{9},
		Actor:     "alice", Role: control.RoleOperator, RemoteAddr: "192.0.2.1:1", Action: "maintenance",
		Target: "read_only", Reason: "why: ü",
		Result: control.ResultDone,
	}
}

// TestActionHashNeverChanges: later versions must verify stored trails. A separate program computed
// the value once, from the layout in the comment of AdminAction.
func TestActionHashNeverChanges(t *testing.T) {
	const want = "e4b64ac1aaa925d919db4f9d6a226aaeb48c7a561fbffca92c6af45122427456"
	a := exampleAction()
	if got := a.ChainHash(); hex.EncodeToString(got[:]) != want {
		t.Errorf("the hash of the example is %x, want %s", got, want)
	}
}

// TestActionHashCoversEverything changes each field in turn. Each change must change the hash,
// except that of the hash itself.
func TestActionHashCoversEverything(t *testing.T) {
	example := exampleAction()
	before := example.ChainHash()
	for i := range reflect.TypeFor[control.AdminAction]().NumField() {
		a := exampleAction()
		v := reflect.ValueOf(&a).Elem().Field(i)
		switch v.Kind() {
		case reflect.String:
			v.SetString(v.String() + "x")
		case reflect.Int64:
			v.SetInt(v.Int() + 1)
		case reflect.Array:
			v.Index(v.Len() - 1).SetUint(77)
		default:
			a.At = a.At.Add(time.Microsecond)
		}
		name := reflect.TypeFor[control.AdminAction]().Field(i).Name
		if changed := a.ChainHash() != before; changed != (name != "Hash") {
			t.Errorf("a change of %s shows: %v", name, changed)
		}
	}
	a := exampleAction()
	a.Target, a.Reason = a.Target+a.Reason, ""
	if a.ChainHash() == before {
		t.Error("text that moves from one field to the next does not show")
	}
}
