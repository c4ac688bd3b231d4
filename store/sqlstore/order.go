package sqlstore

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/encoding"
)

// order is an order in which events are searched, each that of an index.
type order struct {
	// letter begins its cursors. Those of the order stored have none: they are ids.
	letter  string
	columns []orderColumn
	// key is where an event stands in it.
	key func(*hookgate.Event) Key
}

type orderColumn struct {
	name string
	kind Kind
	down bool
}

// Kind is that of a column's values.
type Kind int

// The kinds, with the type that their values have in a Key.
const (
	Text   Kind = iota // string
	Number             // int64
	Bytes              // Blob
)

// Blob are bytes that can be compared.
type Blob string

// Key is where an event stands in an order: a value for each of its columns.
type Key []any

var (
	byStored = &order{"", []orderColumn{{"id", Number, true}},
		func(e *hookgate.Event) Key { return Key{idNumber(e)} }}
	// Request ids begin with the time.
	byRequest = &order{"r", []orderColumn{{"request_id", Text, true}},
		func(e *hookgate.Event) Key { return Key{e.RequestID.String()} }}
	// Of one type.
	byReceipt = &order{"t", []orderColumn{{"received_at", Number, true},
		{"id", Number, false}}, func(e *hookgate.Event) Key {
		return Key{e.ReceivedAt.UnixMicro(), idNumber(e)}
	}}
	// Of one message id.
	byMessage = &order{"m", []orderColumn{{"identity", Bytes, false}}, func(e *hookgate.Event) Key {
		key := encoding.Key(e.Identity)
		return Key{Blob(key[:])}
	}}
)

func idNumber(e *hookgate.Event) int64 {
	n, _ := strconv.ParseInt(e.ID, 10, 64) // a store has made it
	return n
}

// orderBy is the ORDER BY clause.
func (o *order) orderBy(backwards bool) string {
	columns := make([]string, len(o.columns))
	for i, c := range o.columns {
		columns[i] = c.name
		if c.down != backwards {
			columns[i] += " DESC"
		}
	}
	return strings.Join(columns, ", ")
}

// names are the columns, as a SELECT clause.
func (o *order) names() string {
	names := make([]string, len(o.columns))
	for i, c := range o.columns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

// kinds are those of the columns.
func (o *order) kinds() []Kind {
	kinds := make([]Kind, len(o.columns))
	for i, c := range o.columns {
		kinds[i] = c.kind
	}
	return kinds
}

// behind narrows a span to the rows that stand behind the key, in the order or backwards in it;
// with or, one may stand there too.
func (o *order) behind(s *span, key Key, backwards, or bool) {
	s.narrow(key[0], len(key) > 1 || or, o.columns[0].down == backwards)
	if len(key) == 1 {
		return
	}
	var build func(i int) (string, []any)
	build = func(i int) (string, []any) {
		column := o.columns[i]
		strict := ">"
		if column.down != backwards {
			strict = "<"
		}
		if i == len(o.columns)-1 {
			if or {
				strict += "="
			}
			return column.name + " " + strict + " ?", []any{key[i]}
		}
		rest, args := build(i + 1)
		return fmt.Sprintf("(%s %s ? OR %s = ? AND %s)", column.name, strict, column.name, rest),
			append([]any{key[i], key[i]}, args...)
	}
	s.add(build(0))
}

// cursor writes a key as text.
func (o *order) cursor(key Key) string {
	if key == nil {
		return ""
	}
	parts := make([]string, len(key))
	for i, part := range key {
		if b, ok := part.(Blob); ok {
			part = hex.EncodeToString([]byte(b))
		}
		parts[i] = url.PathEscape(fmt.Sprint(part)) // it escapes commas too
	}
	return o.letter + strings.Join(parts, ",")
}

// parse reads what cursor writes.
func (o *order) parse(cursor string) (Key, error) {
	text, ok := strings.CutPrefix(cursor, o.letter)
	parts := strings.Split(text, ",")
	if !ok || len(parts) != len(o.columns) {
		return nil, fmt.Errorf("cursor %.40q is of no such search: %w", cursor, hookgate.ErrNotFound)
	}
	key := make(Key, len(parts))
	for i, part := range parts {
		text, err := url.PathUnescape(part)
		key[i] = text
		switch {
		case err != nil:
		case o.columns[i].kind == Number:
			key[i], err = strconv.ParseInt(text, 10, 64)
		case o.columns[i].kind == Bytes:
			var b []byte
			b, err = hex.DecodeString(text)
			key[i] = Blob(b)
		}
		if err != nil {
			return nil, fmt.Errorf("cursor %.40q cannot be read: %w", cursor, hookgate.ErrNotFound)
		}
	}
	return key, nil
}

// conditions are parts of a WHERE clause, with a ? for each argument: an int64, a string or bytes.
type conditions struct {
	texts []string
	args  []any
}

func (c *conditions) add(text string, args []any) {
	c.texts = append(c.texts, text)
	c.args = append(c.args, args...)
}

// span is a range of an index and what else must hold there.
type span struct {
	conditions
	// low and high bound the first column of the order. There is one of each, because SQLite enters an
	// index with one and only compares with any other.
	low, high bound
}

// bound is an end of a range; without a value there is none.
type bound struct {
	value     any
	inclusive bool
}

// narrow narrows the range to what is at least a value, or with up false at most; without inclusive
// the value itself is not in it.
func (s *span) narrow(value any, inclusive, up bool) {
	end, inner := &s.high, -1
	if up {
		end, inner = &s.low, 1
	}
	if end.value != nil {
		switch c := compare(value, end.value); {
		case c == -inner, c == 0 && inclusive:
			return // it is as narrow already
		}
	}
	*end = bound{value, inclusive}
}

func compare(a, b any) int {
	switch a := a.(type) {
	case int64:
		return cmp.Compare(a, b.(int64))
	case Blob:
		return cmp.Compare(a, b.(Blob))
	}
	return cmp.Compare(a.(string), b.(string))
}

func (s *span) clone() span {
	c := *s
	c.texts, c.args = slices.Clone(s.texts), slices.Clone(s.args)
	return c
}

// where returns the WHERE clause with its arguments.
func (s *span) where(o *order) (string, []any) {
	c := s.clone()
	for _, end := range []struct {
		bound
		operator string
	}{{s.low, ">"}, {s.high, "<"}} {
		if end.value == nil {
			continue
		}
		if end.inclusive {
			end.operator += "="
		}
		c.add(o.columns[0].name+" "+end.operator+" ?", []any{end.value})
	}
	if len(c.texts) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(c.texts, " AND "), c.args
}
