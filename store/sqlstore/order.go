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

// order is an order in which a search returns events. An index serves each order.
type order struct {
	// letter is the first letter of its cursors. It is empty for the stored order, whose cursors
	// are ids.
	letter  string
	columns []orderColumn
	// key returns the place of an event in the order.
	key func(*hookgate.StoredEvent) place
}

type orderColumn struct {
	name string
	kind columnKind
	down bool
}

// columnKind is the kind of a column's values.
type columnKind int

// The kinds, with the Go type that each has in a place.
const (
	text   columnKind = iota // string
	number                   // int64
	binary                   // blob
)

// blob holds bytes in a type that Go can compare.
type blob string

// place is the place of an event in an order: one value for each column.
type place []any

var (
	byStored = &order{"", []orderColumn{{"id", number, true}},
		func(e *hookgate.StoredEvent) place { return place{idNumber(e)} }}
	// Request ids begin with the time.
	byRequest = &order{"r", []orderColumn{{"request_id", text, true}},
		func(e *hookgate.StoredEvent) place { return place{e.RequestID.String()} }}
	// The events of one type.
	byReceipt = &order{"t", []orderColumn{{"received_at", number, true},
		{"id", number, false}}, func(e *hookgate.StoredEvent) place {
		return place{e.ReceivedAt.UnixMicro(), idNumber(e)}
	}}
	// The events of one message id.
	byMessage = &order{"m", []orderColumn{{"identity", binary, false}}, func(e *hookgate.StoredEvent) place {
		key := audit.IdentityKey(e.Identity)
		return place{blob(key[:])}
	}}
)

func idNumber(e *hookgate.StoredEvent) int64 {
	n, _ := strconv.ParseInt(e.ID, 10, 64) // a store wrote it
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

// names returns the columns for a SELECT clause.
func (o *order) names() string {
	names := make([]string, len(o.columns))
	for i, c := range o.columns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

// scan reads a place from a row of the order's columns.
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

// behind narrows a span to the rows after the key in the order, or before it if backwards is set.
// With or the row at the key stays in the span.
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

// cursor writes a place as text.
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

// parse reads the text that cursor writes.
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

// conditions are the parts of a WHERE clause. Each argument, an int64, a string or bytes, has a ?
// in the text.
type conditions struct {
	texts []string
	args  []any
}

func (c *conditions) add(text string, args ...any) {
	c.texts = append(c.texts, text)
	c.args = append(c.args, args...)
}

// equal adds the condition that a column has the value, unless the value is empty.
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

// span is a range of an index and the other conditions on its rows.
type span struct {
	conditions
	// low and high bound the first column of the order. There is only one of each, because SQLite
	// uses one bound to enter the index and compares each row with any other.
	low, high bound
}

// bound is one end of a range. A nil value means that the range is open at this end.
type bound struct {
	value     any
	inclusive bool
}

// narrow narrows the range to values of at least value if up is set, and of at most value if not.
// The range excludes value itself unless inclusive is set.
func (s *span) narrow(value any, inclusive, up bool) {
	end, inner := &s.high, -1
	if up {
		end, inner = &s.low, 1
	}
	if end.value != nil {
		switch c := compare(value, end.value); {
		case c == -inner, c == 0 && inclusive:
			return // the range is already as narrow
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
