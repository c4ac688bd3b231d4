// Package show prints the answers of a gate: for people as tables and text, for scripts as JSON.
package show

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

// Table prints rows in columns.
type Table struct{ w *tabwriter.Writer }

// NewTable prints the titles of the columns; none if there are none.
func NewTable(out io.Writer, titles ...string) *Table {
	t := &Table{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	if len(titles) > 0 {
		fmt.Fprintln(t.w, strings.Join(titles, "\t"))
	}
	return t
}

// title begins another part, with its own titles.
func (t *Table) title(titles ...string) { fmt.Fprintln(t.w, "\n"+strings.Join(titles, "\t")) }

// Row prints one row. Times are shown to the second.
func (t *Table) Row(cells ...any) {
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

// Flush writes the table. Its error is that of any write.
func (t *Table) Flush() error { return t.w.Flush() }

// cell is a text for one cell: characters that would break the table are written as in Go.
func cell(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
}

// TimeOr is a time to the second, or another text if there is none.
func TimeOr(t *api.Time, none string) string {
	if t == nil {
		return none
	}
	return t.UTC().Format(time.RFC3339)
}

// TextOf is a text, or empty if there is none.
func TextOf(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// Line prints v as one line of JSON.
func Line(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// JSON prints v as JSON for people to read.
func JSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// Lines prints rows as NDJSON as they come.
func Lines[T any](out io.Writer, rows iter.Seq2[T, error]) error {
	for row, err := range rows {
		if err != nil {
			return err
		}
		if err := Line(out, row); err != nil {
			return err
		}
	}
	return nil
}
