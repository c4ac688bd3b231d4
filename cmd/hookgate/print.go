package main

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/hookgate/hookgate/api"
)

// table prints rows in columns.
type table struct{ w *tabwriter.Writer }

// newTable prints the titles of the columns; none if there are none.
func newTable(out io.Writer, titles ...string) *table {
	t := &table{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	if len(titles) > 0 {
		fmt.Fprintln(t.w, strings.Join(titles, "\t"))
	}
	return t
}

// title begins another part, with its own titles.
func (t *table) title(titles ...string) { fmt.Fprintln(t.w, "\n"+strings.Join(titles, "\t")) }

// row prints one row. Times are shown to the second.
func (t *table) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case time.Time:
			texts[i] = c.UTC().Format(time.RFC3339)
		case api.Time:
			texts[i] = c.UTC().Format(time.RFC3339)
		default:
			texts[i] = cell(fmt.Sprint(c))
		}
	}
	fmt.Fprintln(t.w, strings.Join(texts, "\t"))
}

// flush writes the table. Its error is that of any write.
func (t *table) flush() error { return t.w.Flush() }

// cell is a text for one cell: characters that would break the table are written as in Go.
func cell(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
}

// timeOr is a time to the second, or another text if there is none.
func timeOr(t *api.Time, none string) string {
	if t == nil {
		return none
	}
	return t.UTC().Format(time.RFC3339)
}

// textOf is a text, or empty if there is none.
func textOf(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// printLine prints v as one line of JSON.
func printLine(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printJSON prints v as JSON for people to read.
func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printLines prints rows as NDJSON as they come.
func printLines[T any](out io.Writer, rows iter.Seq2[T, error]) error {
	for row, err := range rows {
		if err != nil {
			return err
		}
		if err := printLine(out, row); err != nil {
			return err
		}
	}
	return nil
}

// shellQuote quotes s for a POSIX shell if it needs that.
func shellQuote(s string) string {
	safe := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
			strings.ContainsRune("/._-+,:=@", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !safe(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
