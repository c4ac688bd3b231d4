package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// canaryState is the canary as the admin API shows it.
type canaryState struct {
	Configured bool
	Upstream   string
	Percent    int
	At         *time.Time
	By, Reason string
	Evidence   string
	Plan       []struct {
		Percent    int
		ForSeconds float64
	}
	Step           int
	WatchedSeconds float64
	Held           string
	Guard          struct {
		Fired   []string
		Unknown string
	}
	Stored   bool
	Recorded *bool
}

const canaryPath = "/admin/canary"

func newCanaryCommand() *cobra.Command {
	var c client
	var asJSON bool
	var evidenceID string
	cmd := &cobra.Command{
		Use:   "canary [show|N|start|back]",
		Short: "Show or change what share of the webhooks the gate takes, and what goes on to the service before",
		Long: `Show the canary of a running gate, or change it: N sets the percentage and ends a plan,
start begins the plan (canary.plan) at its first step above the percentage of now, back
goes to 0 and ends the plan.

The share is one of ordering keys: all webhooks of a key, and their repetitions, go to
one side, and a key that the gate has taken stays with it while the percentage rises.
A plan goes on when a step has had its time and the guard says go, and back to 0 by
itself when the guard fires.

It is written into the admin trail, with --reason. If the trail cannot be written
because the store is away, changes are refused, but back is done all the same.`,
		Example: `  hookgate canary
  hookgate canary 5 --reason "release 7"
  hookgate canary start --reason "release 7"
  hookgate canary back --reason "orders are missing"`,
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: []string{"show", "start", "back"},
	}
	c.register(cmd)
	c.registerReason(cmd)
	c.registerApproval(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&evidenceID, "evidence", "",
		"`id` of evidence that the gate has received, to leave 0 percent with (see hookgate promote)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		wanted := "show"
		if len(args) > 0 {
			wanted = args[0]
		}
		if wanted == "show" {
			var answer json.RawMessage
			if err := c.get(cmd.Context(), canaryPath, nil, &answer); err != nil {
				return err
			}
			return printCanary(cmd, answer, asJSON)
		}
		body, err := canaryBody(wanted, evidenceID)
		if err != nil {
			return err
		}
		var answer json.RawMessage
		if err := c.change(cmd.Context(), http.MethodPost, canaryPath, body, &answer); err != nil {
			return err
		}
		return printCanary(cmd, answer, asJSON)
	}
	return cmd
}

// canaryBody is the body of a change.
func canaryBody(wanted, evidenceID string) (string, error) {
	body := map[string]any{}
	switch percent, err := strconv.Atoi(strings.TrimSuffix(wanted, "%")); {
	case wanted == "start" || wanted == "back":
		body["plan"] = wanted
	case err == nil && percent >= 0 && percent <= 100:
		body["percent"] = percent
	default:
		return "", fmt.Errorf("%q is neither show, start, back nor a percentage from 0 to 100", wanted)
	}
	if evidenceID != "" {
		body["evidence"] = evidenceID
	}
	text, err := json.Marshal(body)
	return string(text), err
}

// printCanary prints the answer of the gate.
func printCanary(cmd *cobra.Command, answer json.RawMessage, asJSON bool) error {
	out := cmd.OutOrStdout()
	if asJSON {
		return printJSON(out, answer)
	}
	var s canaryState
	if err := json.Unmarshal(answer, &s); err != nil {
		return fmt.Errorf("read the gate's answer: %w", err)
	}
	if s.Recorded != nil && !*s.Recorded {
		fmt.Fprintln(cmd.ErrOrStderr(),
			"hookgate: the admin trail could not be written, and does not have this; the log of the gate has")
	}
	return s.print(out)
}

// print writes the state for people.
func (s canaryState) print(w io.Writer) error {
	if !s.Configured {
		_, err := fmt.Fprintln(w, "no canary: the gate takes every webhook (canary.upstream is not set)")
		return err
	}
	var errs []error
	line := func(format string, args ...any) {
		_, err := fmt.Fprintf(w, format+"\n", args...)
		errs = append(errs, err)
	}
	line("%d percent here, everything else to %s", s.Percent, s.Upstream)
	if s.At != nil {
		set := fmt.Sprintf("since %s by %s", s.At.Format(time.RFC3339), s.By)
		if s.Reason != "" {
			set += ": " + s.Reason
		}
		line("%s", set)
	}
	if s.Evidence != "" {
		line("on evidence %s", s.Evidence)
	}
	if !s.Stored {
		line("only in this process: it is not stored for the others yet")
	}
	for i, step := range s.Plan {
		state, lasts := "", time.Duration(step.ForSeconds*float64(time.Second))
		if i+1 == s.Step {
			state = fmt.Sprintf("  <- %v without a fired trigger",
				time.Duration(s.WatchedSeconds*float64(time.Second)).Round(time.Second))
			if s.Held != "" {
				state += "; held: " + s.Held
			}
		}
		length := "to stay"
		if lasts > 0 {
			length = "for " + lasts.String()
		}
		line("step %d: %3d percent %s%s", i+1, step.Percent, length, state)
	}
	switch {
	case len(s.Guard.Fired) > 0:
		line("guard: fired: %s", strings.Join(s.Guard.Fired, ", "))
	case s.Guard.Unknown != "":
		line("guard: cannot tell: %s", s.Guard.Unknown)
	default:
		line("guard: go")
	}
	return errors.Join(errs...)
}
