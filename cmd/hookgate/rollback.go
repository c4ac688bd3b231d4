package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/config"
	"github.com/hookgate/hookgate/internal/terminal"
	"github.com/hookgate/hookgate/release/rollback"
)

// The environment that a guard gives its roll-back command, and a roll-back its own. None of it is
// a setting.
const (
	rollbackIDVariable     = rollback.IDVariable
	rollbackFromVariable   = rollback.FromVariable
	rollbackReasonVariable = rollback.ReasonVariable
)

// rollbackFlags are what a person says to hookgate rollback.
type rollbackFlags struct {
	connection
	config, journal                    string
	expect                             string
	drain                              time.Duration
	resume, abandon, yes, json         bool
	gateDown, undrained, rerun, isDone bool
}

func newRollbackCommand() *cobra.Command {
	var f rollbackFlags
	cmd := &cobra.Command{
		Use:   "rollback [--yes] [-- COMMAND ARGUMENT…]",
		Short: "Go back to the release before: read_only, drain, the roll-back command, health, normal",
		Long: `Walk the playbook of a roll-back on a running gate:

  announce   note in the admin trail that it begins
  read_only  take no more webhooks: senders get 503, and most retry
  drain      wait until everything accepted is stored
  command    run the roll-back command, which puts the release before in place and restarts
  health     wait until /api/health reports the expected version
  normal     take webhooks again
  record     note in the admin trail what came of it, and how long it took

The command and the expected version come from hookgate.yaml (rollback.command,
rollback.expected_version) or from here; so do the data folder and, on the gate's own
machine, its address. The command gets HOOKGATE_ROLLBACK_ID,
HOOKGATE_ROLLBACK_EXPECTED_VERSION and HOOKGATE_ROLLBACK_FROM_VERSION, and outlives this one.

A step that fails stops everything and leaves the gate as it is, mostly in read_only, where
nothing is lost; what to do is printed. Each step is in a journal before it is made, so that
--resume goes on, also when this process was killed.

Exit code 0: rolled back. 1: stopped; it can be resumed. 2: it could not begin.`,
		Example: `  hookgate rollback --expect v1.4.2 -- /usr/local/bin/deploy-hookgate v1.4.2
  hookgate rollback --resume
  hookgate rollback --resume --rerun-command`,
	}
	f.register(cmd)
	f.reason = os.Getenv(rollbackReasonVariable)
	cmd.Flags().StringVar(&f.reason, "reason", f.reason, "`why`, for the admin trail")
	flags := cmd.Flags()
	flags.StringVar(&f.config, "config", "",
		"configuration `file` with the section rollback (default hookgate.yaml, if there is one)")
	flags.StringVar(&f.expect, "expect", "", "`version` that the gate must report afterwards")
	flags.DurationVar(&f.drain, "drain-timeout", 0,
		"how long the queue may take to drain (default 2m)")
	flags.StringVar(&f.journal, "journal", "",
		"journal `file` (default rollback/journal.ndjson in the data folder)")
	flags.BoolVar(&f.yes, "yes", false, "begin without being asked")
	flags.BoolVar(&f.json, "json", false, "print the report as JSON")
	flags.BoolVar(&f.resume, "resume", false, "go on with the roll-back that has not ended")
	flags.BoolVar(&f.abandon, "abandon", false, "end it where it is, and change nothing")
	flags.BoolVar(&f.gateDown, "gate-down", false,
		"go on without announcement, read_only and drain if the gate does not answer")
	flags.BoolVar(&f.undrained, "allow-undrained", false,
		"go on although the queue has not drained in time; what is queued stays queued")
	flags.BoolVar(&f.rerun, "rerun-command", false, "with --resume: run the command again")
	flags.BoolVar(&f.isDone, "command-done", false, "with --resume: take the command for done")
	flags.StringVar(&f.approval, "approval", "", "`id` of the approval, where the gate wants one")
	cmd.MarkFlagsMutuallyExclusive("resume", "abandon")
	cmd.MarkFlagsMutuallyExclusive("rerun-command", "command-done")
	cmd.RunE = func(cmd *cobra.Command, command []string) error {
		if f.abandon && len(command) > 0 || f.resume && (len(command) > 0 || f.expect != "") {
			return errors.New("the journal has the command and the version of the roll-back: do not give them again")
		}
		if (f.rerun || f.isDone) && !f.resume {
			return errors.New("--rerun-command and --command-done are for --resume")
		}
		return f.run(cmd, command)
	}
	return cmd
}

func (f *rollbackFlags) run(cmd *cobra.Command, command []string) error {
	set := map[string]any{}
	if f.config != "" {
		set["config"] = f.config
	}
	c, err := config.Load(os.Environ(), set)
	if err != nil {
		return err
	}
	if !cmd.Flags().Changed("data-dir") {
		f.dataDir = c.DataDir
	}
	if !cmd.Flags().Changed("target") {
		f.target = ownURL(c, cmp.Or(c.Admin.Listen, c.Listen))
	}
	if f.journal == "" {
		f.journal = filepath.Join(f.dataDir, "rollback", "journal.ndjson")
	}
	journal, err := rollback.Open(f.journal)
	if err != nil {
		return err
	}
	defer journal.Close()
	client, err := f.client()
	if err != nil {
		return err
	}
	gate := &rollback.Remote{Client: client, Reason: f.reason, Approval: f.approval}
	choices := rollback.Choices{GateDown: f.gateDown, Undrained: f.undrained ||
		c.Rollback.AllowUndrained, Rerun: f.rerun, CommandDone: f.isDone}
	show := showStep(cmd.ErrOrStderr())
	var walk *rollback.Playbook
	switch {
	case f.abandon:
		report, err := rollback.Abandon(cmd.Context(), journal, gate)
		if err != nil {
			return err
		}
		return f.print(cmd.OutOrStdout(), report)
	case f.resume:
		walk, err = rollback.Resume(journal, gate, choices, show)
	default:
		var plan rollback.Plan
		if plan, err = f.plan(cmd, c.Rollback, command, gate); err == nil {
			id := os.Getenv(rollbackIDVariable)
			if id == "" {
				id = hookgate.NewRequestID(time.Now()).String()
			}
			walk, err = rollback.Start(journal, gate, id, plan, choices, show)
		}
	}
	if err != nil {
		return advised(err)
	}
	gate.Reason = cmp.Or(gate.Reason, walk.Reason()) // a resumed roll-back keeps its reason
	report, err := walk.Run(cmd.Context())
	if e := f.print(cmd.OutOrStdout(), report); err == nil {
		err = e
	}
	if err != nil {
		return &exitError{exitFail, err}
	}
	return nil
}

// ownURL is where a gate with this configuration answers at a listener's address, seen from its own
// machine.
func ownURL(c config.Config, address string) string {
	scheme := "http"
	if c.TLS.CertFile != "" {
		scheme = "https"
	}
	if host, port, err := net.SplitHostPort(address); err == nil &&
		(host == "" || net.ParseIP(host).IsUnspecified()) {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	return scheme + "://" + address
}

// advised is an error with what to do about it.
func advised(err error) error {
	var a *rollback.Advised
	if errors.As(err, &a) {
		return fmt.Errorf("%w. %s", err, a.Do)
	}
	return err
}

// plan puts a new roll-back together, and asks whether it shall begin.
func (f *rollbackFlags) plan(cmd *cobra.Command, c config.RollbackOptions, command []string,
	gate *rollback.Remote) (rollback.Plan, error) {
	p := rollback.Plan{
		ExpectedVersion: f.expect, Command: command, Drain: f.drain, Run: c.CommandTimeout,
		Health: c.HealthTimeout,
		Goal:   c.Goal, Idempotent: c.Idempotent && len(command) == 0, Reason: f.reason,
	}
	if p.ExpectedVersion == "" {
		p.ExpectedVersion = c.ExpectedVersion
	}
	if len(command) == 0 {
		p.Command = c.Command
	}
	if p.Drain <= 0 {
		p.Drain = c.DrainTimeout
	}
	switch {
	case len(p.Command) == 0:
		return p, errors.New("there is no roll-back command: set rollback.command, or give it behind --")
	case p.ExpectedVersion == "":
		return p, errors.New("it is not said which version shall answer afterwards: set rollback.expected_version, or --expect")
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), firstAnswer)
	defer cancel()
	s, err := gate.State(ctx)
	switch {
	case err != nil && !f.gateDown:
		return p, fmt.Errorf("%w; if it is down, go on without it: --gate-down", err)
	case err == nil && s.Version == p.ExpectedVersion:
		return p, fmt.Errorf("the gate reports version %s already: there is nothing to roll back",
			s.Version)
	}
	p.FromVersion = s.Version
	if f.yes {
		return p, nil
	}
	if !terminal.Is(os.Stdin) {
		return p, errors.New("nobody can be asked here: say --yes")
	}
	fmt.Fprintf(cmd.ErrOrStderr(),
		"Roll %s back from %s to %s:\n  read_only, drain (%v), then: %s\nGo on? [yes/no] ",
		f.target, s.Version, p.ExpectedVersion, p.Drain, quoteAll(p.Command))
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if strings.TrimSpace(answer) != "yes" {
		return p, errors.New("not begun")
	}
	return p, nil
}

func quoteAll(words []string) string {
	var quoted []string
	for _, w := range words {
		quoted = append(quoted, shellQuote(w))
	}
	return strings.Join(quoted, " ")
}

// print prints the report, and what to do if it has stopped.
func (f *rollbackFlags) print(out io.Writer, r rollback.Report) error {
	if f.json {
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	if _, err := io.WriteString(out, r.Table()); err != nil {
		return err
	}
	if r.Next != "" {
		fmt.Fprintf(out, "\nwhat to do: %s\n", r.Next)
	}
	return nil
}

// showStep tells of each step as it begins and ends.
func showStep(w io.Writer) func(rollback.StepReport) {
	return func(s rollback.StepReport) {
		now := time.Now().UTC().Format("15:04:05")
		if s.State == "" {
			fmt.Fprintf(w, "%s %s …\n", now, s.Step)
			return
		}
		fmt.Fprintf(w, "%s %s %s after %v\n", now, s.Step, s.State,
			time.Duration(s.TookMS)*time.Millisecond)
	}
}
