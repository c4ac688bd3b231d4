package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/load"
)

func newReplayRecordCommand() *cobra.Command {
	var c connection
	var f eventFlags
	var out string
	cmd := &cobra.Command{
		Use:   "record",
		Short: "Write the events of a running gate as traffic that certify can send again",
		Long: `Read stored events of a gate and write them as NDJSON: each with its exact body, its time
after the first event, and the headers that the gate kept. Headers that may contain a
secret or a signature are left out. Bodies are not searched for secrets, so protect the
file as you protect the events.

The events keep the order in which they were stored. certify signs them again and keeps
their message ids, so the gate to certify must not have these events yet.`,
		Example: `  hookgate replay record --from 2026-11-23T00:00:00Z --limit 30000 --out recorded.ndjson
  hookgate certify --target http://staging:8080 --phase load --input recorded.ndjson --speed 2`,
		Args: cobra.NoArgs,
	}
	c.register(cmd)
	f.register(cmd, "default")
	cmd.Flags().StringVar(&out, "out", "recorded.ndjson",
		"`file` to write, new or empty; - is standard output")
	cmd.Flags().IntVar(&f.query.Limit, "limit", 0, "the greatest number of events; 0 for all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		query, err := f.selected()
		if err != nil {
			return err
		}
		client, err := c.client()
		if err != nil {
			return err
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
		n, err := record(cmd, client, query, to)
		if err == nil && out != "-" {
			fmt.Fprintf(cmd.ErrOrStderr(), "%d events in %s\n", n, out)
		}
		return err
	}
	return cmd
}

// record writes the events that the query selects, and returns how many there are.
func record(cmd *cobra.Command, client *api.Client, query api.EventQuery, to io.Writer) (n int,
	err error) {
	buffered := bufio.NewWriter(to)
	lines := json.NewEncoder(buffered)
	lines.SetEscapeHTML(false)
	var first time.Time
	var at time.Duration
	for e, err := range client.AllEvents(cmd.Context(), query) {
		if err != nil {
			return n, err
		}
		body, err := readBody(cmd, client, e.ID)
		if err != nil {
			return n, err
		}
		if n == 0 {
			first = e.ReceivedAt.Time
		}
		at = max(at, e.ReceivedAt.Sub(first)) // the order is that of the store, key by key
		if err := lines.Encode(load.NewRecorded(at, e.Source, e.Headers, body)); err != nil {
			return n, fmt.Errorf("write recording: %w", err)
		}
		n++
	}
	return n, buffered.Flush()
}

func readBody(cmd *cobra.Command, client *api.Client, id string) ([]byte, error) {
	body, err := client.EventBody(cmd.Context(), id)
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
