package sqlstore

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/hookgate/hookgate"
)

// FuzzCursor parses any text as a cursor of each order. A text that is not a cursor must return
// ErrNotFound. A text that is one must survive a round trip through cursor and parse.
func FuzzCursor(f *testing.F) {
	orders := []*order{byStored, byRequest, byReceipt, byMessage}
	for _, seed := range []string{"", "1", "-1", "9223372036854775808",
		"r01a20b55-c078-7b8c-bf95-7665f4529acd", "t1,2", "t1", "m00ff", "m0", "mevt-1,order.paid,default",
		"ma%2Cb,%25,%ff", "m,,", "m%", "m%zz,,", "x", "t1,2,3", "\x00", "1,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, o := range orders {
			key, err := o.parse(text)
			if err != nil {
				if !errors.Is(err, hookgate.ErrNotFound) {
					t.Errorf("%q: error %v", text, err)
				}
				continue
			}
			again, err := o.parse(o.cursor(key))
			if err != nil || !slices.Equal(again, key) || len(key) != len(o.columns) {
				t.Errorf("%q is the key %v, which is written %q and read as %v (error %v)", text, key,
					o.cursor(key), again, err)
			}
		}
	})
}

// TestSpan: after several calls of narrow the narrowest bound at each end remains.
func TestSpan(t *testing.T) {
	type step struct {
		value         int64
		inclusive, up bool
	}
	for _, test := range []struct {
		steps []step
		want  string
	}{
		{nil, " []"},
		{[]step{{5, true, true}}, " WHERE id >= ? [5]"},
		{[]step{{5, true, true}, {7, true, true}, {6, false, true}}, " WHERE id >= ? [7]"},
		{[]step{{5, true, true}, {5, false, true}}, " WHERE id > ? [5]"},
		{[]step{{5, false, true}, {5, true, true}}, " WHERE id > ? [5]"},
		{[]step{{9, false, false}, {8, true, false}, {10, true, false}}, " WHERE id <= ? [8]"},
		{[]step{{9, true, false}, {9, false, false}, {2, false, true}}, " WHERE id > ? AND id < ? [2 9]"},
	} {
		var s span
		for _, n := range test.steps {
			s.narrow(n.value, n.inclusive, n.up)
		}
		where, args := s.clause(byStored)
		if args == nil {
			args = []any{}
		}
		if got := where + " " + fmt.Sprint(args); got != test.want {
			t.Errorf("%v is %q, want %q", test.steps, got, test.want)
		}
	}
}
