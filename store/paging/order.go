package paging

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/hookgate/hookgate"
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
	name   string
	number bool // an integer; else text
	down   bool
}

// Key is where an event stands in an order: an int64 or a string for each of its columns.
type Key []any

var (
	byStored = &order{"", []orderColumn{{"id", true, true}}, func(e *hookgate.Event) Key { return Key{idNumber(e)} }}
	// Request ids begin with the time.
	byRequest = &order{"r", []orderColumn{{"request_id", false, true}}, func(e *hookgate.Event) Key { return Key{e.RequestID.String()} }}
	// Of one type.
	byReceipt = &order{"t", []orderColumn{{"received_at", true, true}, {"id", true, false}}, func(e *hookgate.Event) Key {
		return Key{e.ReceivedAt.UnixMicro(), idNumber(e)}
	}}
	byMessage = &order{"m", []orderColumn{{"message_id", false, false}, {"event_type", false, false}, {"source", false, false}},
		func(e *hookgate.Event) Key { return Key{e.MessageID, e.EventType, e.Source} }}
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

// numbers says which columns are numbers.
func (o *order) numbers() []bool {
	numbers := make([]bool, len(o.columns))
	for i, c := range o.columns {
		numbers[i] = c.number
	}
	return numbers
}

// behind adds the condition that a row stands behind the key, in the order or backwards in it; with or, it may stand there too. The
// condition on the first column stands alone, for the index.
func (o *order) behind(c *conditions, key Key, backwards, or bool) {
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
		return fmt.Sprintf("%s %s= ? AND (%s %s ? OR %s)", column.name, strict, column.name, strict, rest), append([]any{key[i], key[i]}, args...)
	}
	c.add(build(0))
}

// cursor writes a key as text.
func (o *order) cursor(key Key) string {
	if key == nil {
		return ""
	}
	parts := make([]string, len(key))
	for i, part := range key {
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
		if o.columns[i].number && err == nil {
			key[i], err = strconv.ParseInt(text, 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("cursor %.40q cannot be read: %w", cursor, hookgate.ErrNotFound)
		}
	}
	return key, nil
}

// conditions is a WHERE clause that grows, with a ? for each argument: an int64, a string or bytes.
type conditions struct {
	texts []string
	args  []any
}

func (c *conditions) add(text string, args []any) {
	c.texts = append(c.texts, text)
	c.args = append(c.args, args...)
}

func (c *conditions) clone() conditions {
	return conditions{append([]string{}, c.texts...), append([]any{}, c.args...)}
}

func (c *conditions) where() string {
	if len(c.texts) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.texts, " AND ")
}
