package main

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/progress"
	"github.com/hookgate/hookgate/internal/show"
	"github.com/hookgate/hookgate/internal/terminal"
	"github.com/hookgate/hookgate/load"
)

type replayOptions struct {
	input   string
	output  string
	dataDir string
	json    bool
	test    bool // send test traffic
	config  load.Config
}

func newReplayCommand() *cobra.Command {
	o := replayOptions{config: load.Config{Retry: load.DefaultRetry}}
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Send events to a gate on a schedule and report how it answered",
		Long: `Send each line of the input to /webhooks of the target. Event n is due n/rate seconds
after the first, even if earlier events are late, and its latency counts from that
moment. An ordering key never has two requests in flight. A request that is answered 429
or 503, or not at all, is repeated with the same bytes. With --test the events are marked
as test traffic.

Requests are signed with WEBHOOK_HMAC_SECRET, or carry WEBHOOK_BEARER_KEY. If neither is
set and the target is on this machine, the keys come from the gate's data directory.

Exit code 0: every event was accepted. 1: some were not. 2: the replay could not run.`,
		Example: `  hookgate generate --count 30000 | hookgate replay
  hookgate replay --input events.ndjson --target https://gate.example --rate-limit 0 --output ledger.ndjson --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir := os.Getenv("HOOKGATE_DATA_DIR"); dir != "" && !cmd.Flags().Changed("data-dir") {
				o.dataDir = dir
			}
			return o.run(cmd)
		},
	}
	cmd.AddCommand(newReplayRecordCommand())
	f := cmd.Flags()
	f.StringVarP(&o.input, "input", "i", "-", "`file` of events, one per line; - is standard input")
	f.StringVarP(&o.config.Target, "target", "t", defaultTarget, "base `URL` of the gate")
	f.IntVarP(&o.config.Concurrency, "concurrency", "c", load.DefaultConcurrency,
		"number of connections")
	f.Float64VarP(&o.config.Rate, "rate-limit", "r", 500,
		"events per second; 0 is as fast as the connections allow")
	f.StringVarP(&o.output, "output", "o", "",
		"ledger `file` to write, new or empty: one line of JSON per attempt")
	f.BoolVar(&o.test, "test", false,
		"send test traffic: to the source hookgate-certify, whose events listings leave out")
	f.BoolVar(&o.json, "json", false, "print the summary as JSON")
	f.DurationVar(&o.config.Timeout, "timeout", load.DefaultTimeout,
		"the longest `time` for one request")
	f.IntVar(&o.config.Retry.Attempts, "retries", load.DefaultRetry.Attempts,
		"how often one event is repeated at most")
	f.DurationVar(&o.config.Retry.Time, "retry-time", load.DefaultRetry.Time,
		"the longest `time` for which one event is repeated; 0 is unlimited")
	f.StringVar(&o.dataDir, "data-dir", "./data",
		"data `folder` of a gate on this machine, for its keys; also HOOKGATE_DATA_DIR")
	return cmd
}

// run replays and returns the error that decides the exit code.
func (o replayOptions) run(cmd *cobra.Command) error {
	summary, err := o.replay(cmd)
	ran := err == nil || summary.Attempts > 0 || errors.Is(err, load.ErrInterrupted)
	if ran {
		if printErr := o.print(cmd.OutOrStdout(), summary); printErr != nil {
			return errors.Join(err, fmt.Errorf("print summary: %w", printErr))
		}
	}
	switch {
	case errors.Is(err, load.ErrInterrupted):
		return &exitError{exitFail, err}
	case err != nil:
		return err
	case summary.Lines == 0:
		// The generator in front of the pipe may have failed: nothing sent must not look like success.
		return errors.New("replay: there are no events in the input")
	case !summary.OK():
		return &exitError{exitFail, fmt.Errorf("replay: %d of %d events were not accepted",
			summary.Failed, summary.Lines)}
	}
	return nil
}

// replay opens the files that the options name, replays, and closes them.
func (o replayOptions) replay(cmd *cobra.Command) (summary load.Summary, err error) {
	cfg := o.config
	if cfg.Concurrency < 1 || cfg.Timeout <= 0 {
		return summary, errors.New("--concurrency and --timeout must be positive")
	}
	cfg.Credentials, err = load.FindCredentials(os.Getenv, cfg.Target, o.dataDir)
	if err != nil {
		return summary, err
	}
	if o.test {
		cfg.Path = "/webhooks/" + hookgate.TestSource
	}
	cfg.Input = cmd.InOrStdin()
	var size int64 // of the input; 0 if it is not known
	if o.input != "-" {
		file, err := os.Open(o.input)
		if err != nil {
			return summary, fmt.Errorf("open input: %w", err)
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
		cfg.Input = file
	} else if cfg.Input == os.Stdin && terminal.Is(os.Stdin) {
		return summary, errors.New("no input: name a file with --input, or pipe events in")
	}
	if o.output != "" {
		ledger, err := load.CreateOutput(o.output)
		if err != nil {
			return summary, err
		}
		defer func() {
			if closeErr := ledger.Close(); closeErr != nil {
				err = errors.Join(err, fmt.Errorf("close ledger: %w", closeErr))
			}
		}()
		cfg.Ledger = ledger
	}
	bar := progress.New(cmd.ErrOrStderr(), size)
	defer bar.Done()
	cfg.Progress = func(s load.Summary) { bar.Set(s.Bytes, s.Progress()) }
	return load.Replay(cmd.Context(), cfg)
}

func (o replayOptions) print(w io.Writer, s load.Summary) error {
	if o.json {
		return show.JSON(w, s)
	}
	return s.Write(w)
}

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
			file, err := load.CreateOutput(out)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, file.Close()) }()
			to = file
		}
		n, err := load.Record(to, recorded(cmd, client, query))
		if err == nil && out != "-" {
			fmt.Fprintf(cmd.ErrOrStderr(), "%d events in %s\n", n, out)
		}
		return err
	}
	return cmd
}

// recorded yields the events that the query selects, with their bodies.
func recorded(cmd *cobra.Command, client *api.Client,
	query api.EventQuery) iter.Seq2[load.StoredEvent, error] {
	return func(yield func(load.StoredEvent, error) bool) {
		for e, err := range client.AllEvents(cmd.Context(), query) {
			stored := load.StoredEvent{ReceivedAt: e.ReceivedAt.Time, Source: e.Source, Header: e.Headers}
			if err == nil {
				stored.Body, err = client.ReadEventBody(cmd.Context(), e.ID)
			}
			if !yield(stored, err) || err != nil {
				return
			}
		}
	}
}
