package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/progress"
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
after the first, whatever became of those before it, and its latency counts from that
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
		return summary, errors.New("no input: pipe events in, as in hookgate generate | hookgate replay, or name a file with --input")
	}
	if o.output != "" {
		ledger, err := createEmpty(o.output)
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
	cfg.Progress = func(s load.Summary) { bar.Set(s.Bytes, progressText(s)) }
	return load.Replay(cmd.Context(), cfg)
}

func (o replayOptions) print(w io.Writer, s load.Summary) error {
	if o.json {
		return printJSON(w, s)
	}
	return s.Write(w)
}

func progressText(s load.Summary) string {
	text := fmt.Sprintf("%d accepted, %.0f/s, P95 %.2f ms", s.Accepted, s.Rate, s.LatencyMS.P95)
	if s.Failed > 0 {
		text += fmt.Sprintf(", %d failed", s.Failed)
	}
	if s.Retries > 0 {
		text += fmt.Sprintf(", %d retries", s.Retries)
	}
	return text
}
