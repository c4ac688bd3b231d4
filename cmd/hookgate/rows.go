package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
)

// allRows reads all pages of a listing, whose answer has its rows under a name.
func (c *client) allRows(ctx context.Context, path, name string,
	query url.Values) (rows []json.RawMessage, err error) {
	query.Set("limit", "1000")
	for {
		var page map[string]json.RawMessage
		if err := c.get(ctx, path, query, &page); err != nil {
			return nil, err
		}
		var some []json.RawMessage
		if err := json.Unmarshal(page[name], &some); err != nil {
			return nil, fmt.Errorf("read the gate's answer: %w", err)
		}
		rows = append(rows, some...)
		if page["next"] == nil {
			return rows, nil
		}
		var next string
		if err := json.Unmarshal(page["next"], &next); err != nil {
			return nil, fmt.Errorf("read the gate's answer: %w", err)
		}
		query.Set("after", next)
	}
}

// printRows prints rows as NDJSON, or as a table.
func printRows(out io.Writer, rows []json.RawMessage, asJSON bool,
	table func(io.Writer, []json.RawMessage) error) error {
	if !asJSON {
		return table(out, rows)
	}
	for _, row := range rows {
		if _, err := fmt.Fprintln(out, string(row)); err != nil {
			return err
		}
	}
	return nil
}
