package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/progress"
	"github.com/hookgate/hookgate/internal/terminal"
	"github.com/hookgate/hookgate/load"
	"github.com/spf13/cobra"
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
		Short: "Send events to a gate on a schedule and say how it answered",
		Long: `Replay posts each line of the input to the target's /webhooks. Event n is due n/rate seconds after
the first, whatever became of those before it, and its latency counts from that moment. One ordering
key never has two requests in flight. With --test they are marked as test traffic. A request that is answered 429 or 503, or not at all, is
repeated with the same bytes.

Requests are signed with WEBHOOK_HMAC_SECRET, or carry WEBHOOK_BEARER_KEY; if neither is set and
the target is on this machine, the keys are read from the gate's data directory.

The exit code is 0 if every event was accepted, 1 if one was not, and 2 if the replay could not run.`,
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
	f := cmd.Flags()
	f.StringVarP(&o.input, "input", "i", "-", "file of events, one a line; - is standard input")
	f.StringVarP(&o.config.Target, "target", "t", "http://127.0.0.1:8080", "base URL of the gate")
	f.IntVarP(&o.config.Concurrency, "concurrency", "c", load.DefaultConcurrency,
		"number of connections")
	f.Float64VarP(&o.config.Rate, "rate-limit", "r", 500,
		"events a second; 0 is as fast as the connections allow")
	f.StringVarP(&o.output, "output", "o", "",
		"ledger to write, new or empty: a line of JSON for each attempt")
	f.BoolVar(&o.test, "test", false,
		"send test traffic: to the source hookgate-certify, whose events listings leave out")
	f.BoolVar(&o.json, "json", false, "print the summary as JSON")
	f.DurationVar(&o.config.Timeout, "timeout", load.DefaultTimeout, "bound on one request")
	f.IntVar(&o.config.Retry.Attempts, "retries", load.DefaultRetry.Attempts,
		"how often one event is repeated at most")
	f.DurationVar(&o.config.Retry.Time, "retry-time", load.DefaultRetry.Time,
		"how long one event is repeated at most; 0 is no bound")
	f.StringVar(&o.dataDir, "data-dir", "./data",
		"data directory of a gate on this machine, for its keys; also HOOKGATE_DATA_DIR")
	return cmd
}

// run replays and maps what came of it to an exit code.
func (o replayOptions) run(cmd *cobra.Command) error {
	summary, err := o.replay(cmd)
	ran := err == nil || summary.Attempts > 0 || errors.Is(err, load.ErrInterrupted)
	if ran {
		if printErr := o.print(cmd.OutOrStdout(), summary); printErr != nil {
			return &exitError{code: 2, err: errors.Join(err, fmt.Errorf("print summary: %w", printErr))}
		}
	}
	switch {
	case errors.Is(err, load.ErrInterrupted):
		return &exitError{code: 1, err: err}
	case err != nil:
		return &exitError{code: 2, err: err}
	case summary.Lines == 0:
		// The generator in front of the pipe may have failed: nothing sent must not look like success.
		return &exitError{code: 2, err: errors.New("replay: there are no events in the input")}
	case !summary.OK():
		return &exitError{code: 1, err: fmt.Errorf("replay: %d of %d events were not accepted",
			summary.Failed, summary.Lines)}
	}
	return nil
}

// replay opens what the options name, replays, and closes it.
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
	if !o.json {
		return s.Write(w)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(s)
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
