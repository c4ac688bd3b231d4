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
	"github.com/hookgate/hookgate/audit"
)

// order is an order in which events are searched, each that of an index.
type order struct {
	// letter begins its cursors. Those of the order stored have none: they are ids.
	letter  string
	columns []orderColumn
	// key is where an event stands in it.
	key func(*hookgate.Event) place
}

type orderColumn struct {
	name string
	kind columnKind
	down bool
}

// columnKind is that of a column's values.
type columnKind int

// The kinds, with the type that their values have in a place.
const (
	text   columnKind = iota // string
	number                   // int64
	binary                   // blob
)

// blob are bytes that can be compared.
type blob string

// place is where an event stands in an order: a value for each of its columns.
type place []any

var (
	byStored = &order{"", []orderColumn{{"id", number, true}},
		func(e *hookgate.Event) place { return place{idNumber(e)} }}
	// Request ids begin with the time.
	byRequest = &order{"r", []orderColumn{{"request_id", text, true}},
		func(e *hookgate.Event) place { return place{e.RequestID.String()} }}
	// Of one type.
	byReceipt = &order{"t", []orderColumn{{"received_at", number, true},
		{"id", number, false}}, func(e *hookgate.Event) place {
		return place{e.ReceivedAt.UnixMicro(), idNumber(e)}
	}}
	// Of one message id.
	byMessage = &order{"m", []orderColumn{{"identity", binary, false}}, func(e *hookgate.Event) place {
		key := audit.IdentityKey(e.Identity)
		return place{blob(key[:])}
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

// scan reads a key from a row of its columns.
func (o *order) scan(r Row) place {
	key := make(place, len(o.columns))
	for i, c := range o.columns {
		switch c.kind {
		case number:
			key[i] = r.Int(i)
		case binary:
			key[i] = blob(r.Bytes(i))
		default:
			key[i] = r.Text(i)
		}
	}
	return key
}

// behind narrows a span to the rows that stand behind the key, in the order or backwards in it;
// with or, one may stand there too.
func (o *order) behind(s *span, key place, backwards, or bool) {
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
	text, args := build(0)
	s.add(text, args...)
}

// cursor writes a key as text.
func (o *order) cursor(key place) string {
	if key == nil {
		return ""
	}
	parts := make([]string, len(key))
	for i, part := range key {
		if b, ok := part.(blob); ok {
			part = hex.EncodeToString([]byte(b))
		}
		parts[i] = url.PathEscape(fmt.Sprint(part)) // it escapes commas too
	}
	return o.letter + strings.Join(parts, ",")
}

// parse reads what cursor writes.
func (o *order) parse(cursor string) (place, error) {
	text, ok := strings.CutPrefix(cursor, o.letter)
	parts := strings.Split(text, ",")
	if !ok || len(parts) != len(o.columns) {
		return nil, fmt.Errorf("cursor %.40q is of no such search: %w", cursor, hookgate.ErrNotFound)
	}
	key := make(place, len(parts))
	for i, part := range parts {
		text, err := url.PathUnescape(part)
		key[i] = text
		switch {
		case err != nil:
		case o.columns[i].kind == number:
			key[i], err = strconv.ParseInt(text, 10, 64)
		case o.columns[i].kind == binary:
			var b []byte
			b, err = hex.DecodeString(text)
			key[i] = blob(b)
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

func (c *conditions) add(text string, args ...any) {
	c.texts = append(c.texts, text)
	c.args = append(c.args, args...)
}

// equal adds the condition that a column has a value, unless that is empty.
func (c *conditions) equal(column, value string) {
	if value != "" {
		c.add(column+" = ?", value)
	}
}

// and joins the conditions.
func (c *conditions) and() string { return strings.Join(c.texts, " AND ") }

// where returns the WHERE clause.
func (c *conditions) where() string {
	if len(c.texts) == 0 {
		return ""
	}
	return " WHERE " + c.and()
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
	case blob:
		return cmp.Compare(a, b.(blob))
	}
	return cmp.Compare(a.(string), b.(string))
}

func (s *span) clone() span {
	c := *s
	c.texts, c.args = slices.Clone(s.texts), slices.Clone(s.args)
	return c
}

// clause returns the WHERE clause with its arguments.
func (s *span) clause(o *order) (string, []any) {
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
		c.add(o.columns[0].name+" "+end.operator+" ?", end.value)
	}
	return c.where(), c.args
}
