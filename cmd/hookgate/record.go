package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/load"
)

func newRecordCommand() *cobra.Command {
	var c client
	var out string
	var limit int
	filters := map[string]*string{}
	cmd := &cobra.Command{
		Use:   "record",
		Short: "Write a running gate's events as traffic that certify can send again",
		Long: `Read stored events of a gate and write them as NDJSON: each with its body as it was, when
it came after the first, and the headers that were kept. Headers that may hold a secret or
a signature are left out; bodies are not looked into, so treat the file as you treat them.

The events keep their order as stored. certify signs them anew; their message ids are
those recorded, so the gate that is certified must not have them yet.`,
		Example: `  hookgate record --from 2026-11-23T00:00:00Z --limit 30000 --out recorded.ndjson
  hookgate certify --target http://staging:8080 --phase load --input recorded.ndjson --speed 2`,
		Args: cobra.NoArgs,
	}
	c.register(cmd)
	f := cmd.Flags()
	f.StringVar(&out, "out", "recorded.ndjson", "`file` to write, new or empty; - is standard output")
	f.IntVar(&limit, "limit", 0, "at most so many events; 0 for all")
	filters["source"] = f.String("source", "default", "events of this `source`, of kind envelope")
	filters["type"] = f.String("type", "", "events of this event `type`")
	filters["from"] = f.String("from", "", "events received at or after this `time` (RFC 3339)")
	filters["to"] = f.String("to", "", "events received before this `time` (RFC 3339)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		query := url.Values{}
		for name, value := range filters {
			if *value != "" {
				query.Set(name, *value)
			}
		}
		if limit > 0 {
			query.Set("limit", fmt.Sprint(limit))
		}
		to := cmd.OutOrStdout()
		if out != "-" {
			file, err := createEmpty(out)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, file.Close()) }()
			to = file
		}
		n, err := c.record(cmd, query, to)
		if err == nil && out != "-" {
			fmt.Fprintf(cmd.ErrOrStderr(), "%d events in %s\n", n, out)
		}
		return err
	}
	return cmd
}

// record writes the events that match.
func (c *client) record(cmd *cobra.Command, query url.Values, to io.Writer) (n int, err error) {
	list, err := c.do(cmd.Context(), http.MethodGet, "/api/events", query, "application/x-ndjson", nil)
	if err != nil {
		return 0, err
	}
	defer list.Close()
	buffered := bufio.NewWriter(to)
	lines := json.NewEncoder(buffered)
	lines.SetEscapeHTML(false)
	var first time.Time
	var at time.Duration
	for events := json.NewDecoder(list); ; n++ {
		var e struct {
			ID, Source string
			ReceivedAt time.Time
			Headers    []hookgate.Header
		}
		if err := events.Decode(&e); errors.Is(err, io.EOF) {
			return n, buffered.Flush()
		} else if err != nil {
			return n, fmt.Errorf("read events: %w", err)
		}
		body, err := c.body(cmd, e.ID)
		if err != nil {
			return n, err
		}
		if n == 0 {
			first = e.ReceivedAt
		}
		at = max(at, e.ReceivedAt.Sub(first)) // the order is that of the store, key by key
		if err := lines.Encode(load.NewRecorded(at, e.Source, e.Headers, body)); err != nil {
			return n, fmt.Errorf("write recording: %w", err)
		}
	}
}

func (c *client) body(cmd *cobra.Command, id string) ([]byte, error) {
	body, err := c.do(cmd.Context(), http.MethodGet, "/api/events/"+url.PathEscape(id)+"/body", nil,
		"*/*", nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, fmt.Errorf("read the body of event %s: %w", id, err)
	}
	return text, nil
}
