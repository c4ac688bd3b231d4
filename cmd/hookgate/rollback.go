package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/config"
	"github.com/hookgate/hookgate/internal/show"
	"github.com/hookgate/hookgate/internal/terminal"
	"github.com/hookgate/hookgate/release/rollback"
)

type rollbackFlags struct {
	connection
	journal, expect                    string
	drain                              time.Duration
	resume, abandon, yes, json         bool
	gateDown, undrained, rerun, isDone bool
}

func newRollbackCommand() *cobra.Command {
	var f rollbackFlags
	cmd := &cobra.Command{
		Use:   "rollback [--yes] [-- COMMAND ARGUMENT…]",
		Short: "Roll a running gate back to the previous version",
		Long: `Roll a running gate back, step by step:

  announce   record in the admin trail that the roll-back begins
  read_only  reject webhooks: senders get 503, and most retry
  drain      wait until everything accepted is stored
  command    run the roll-back command, which installs the previous version and restarts it
  health     wait until /api/health reports the expected version
  normal     take webhooks again
  record     record in the admin trail how it ended, and how long it took

The command and the expected version come from hookgate.yaml (rollback.command,
rollback.expected_version) or from the command line. The data folder and, on the gate's
own machine, its address come from there too. The command gets HOOKGATE_ROLLBACK_ID,
HOOKGATE_ROLLBACK_EXPECTED_VERSION and HOOKGATE_ROLLBACK_FROM_VERSION, and goes on if
this process is killed.

If a step fails, the roll-back stops, leaves the gate as it is (mostly in read_only, where
nothing is lost), and prints what to do. Each step is written into a journal before it is
done, so that --resume can go on, even after this process was killed.

Exit code 0: rolled back. 1: stopped; it can be resumed. 2: it could not start.`,
		Example: `  hookgate rollback --expect v1.4.2 -- /usr/local/bin/deploy-hookgate v1.4.2
  hookgate rollback --resume
  hookgate rollback --resume --rerun-command`,
	}
	f.register(cmd)
	configFlag(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.reason, "reason", os.Getenv(rollback.ReasonVariable),
		"`why`, for the admin trail")
	flags.StringVar(&f.expect, "expect", "", "`version` that the gate must report afterwards")
	flags.DurationVar(&f.drain, "drain-timeout", 0,
		"`time` for the queue to drain (default 2m)")
	flags.StringVar(&f.journal, "journal", "",
		"journal `file` (default rollback/journal.ndjson in the data folder)")
	flags.BoolVar(&f.yes, "yes", false, "start without asking")
	flags.BoolVar(&f.json, "json", false, "print the report as JSON")
	flags.BoolVar(&f.resume, "resume", false, "go on with the roll-back that has not ended")
	flags.BoolVar(&f.abandon, "abandon", false, "end the roll-back where it is, and change nothing")
	flags.BoolVar(&f.gateDown, "gate-down", false,
		"if the gate does not answer, go on without announce, read_only and drain")
	flags.BoolVar(&f.undrained, "allow-undrained", false,
		"go on even if the queue has not drained in time; the rest stays queued")
	flags.BoolVar(&f.rerun, "rerun-command", false, "with --resume: run the command again")
	flags.BoolVar(&f.isDone, "command-done", false,
		"with --resume: assume that the command has succeeded")
	flags.StringVar(&f.approval, "approval", "",
		"`ID` of the approval to use, if the gate requires one")
	cmd.MarkFlagsMutuallyExclusive("resume", "abandon")
	cmd.MarkFlagsMutuallyExclusive("rerun-command", "command-done")
	cmd.RunE = func(cmd *cobra.Command, command []string) error {
		if f.abandon && len(command) > 0 || f.resume && (len(command) > 0 || f.expect != "") {
			return errors.New("the journal has the command and the version: do not give them again")
		}
		if (f.rerun || f.isDone) && !f.resume {
			return errors.New("--rerun-command and --command-done are for --resume")
		}
		return f.run(cmd, command)
	}
	return cmd
}

func (f *rollbackFlags) run(cmd *cobra.Command, command []string) error {
	c, err := loadConfig(cmd, map[string]string{"config": "config"})
	if err != nil {
		return err
	}
	if !cmd.Flags().Changed("data-dir") {
		f.dataDir = c.DataDir
	}
	if !cmd.Flags().Changed("target") {
		f.target = c.OwnURL(cmp.Or(c.Admin.Listen, c.Listen))
	}
	journal, err := rollback.Open(cmp.Or(f.journal,
		filepath.Join(f.dataDir, "rollback", "journal.ndjson")))
	if err != nil {
		return err
	}
	defer journal.Close()
	client, err := f.client()
	if err != nil {
		return err
	}
	gate := &rollback.Remote{Client: client, Reason: f.reason, Approval: f.approval}
	choices := rollback.Choices{GateDown: f.gateDown, Undrained: f.undrained, Rerun: f.rerun,
		CommandDone: f.isDone}
	step := func(s rollback.StepReport) { show.RollbackStep(cmd.ErrOrStderr(), s) }
	var walk *rollback.Playbook
	switch {
	case f.abandon:
		report, err := rollback.Abandon(cmd.Context(), journal, gate)
		if err != nil {
			return err
		}
		return f.print(cmd, report)
	case f.resume:
		walk, err = rollback.Resume(journal, gate, choices, step)
	default:
		var plan rollback.Plan
		if plan, err = f.plan(cmd, c.Rollback, command, gate); err == nil {
			id := cmp.Or(os.Getenv(rollback.IDVariable), hookgate.NewRequestID(time.Now()).String())
			walk, err = rollback.Start(journal, gate, id, plan, choices, step)
		}
	}
	if err != nil {
		return advised(err)
	}
	gate.Reason = cmp.Or(gate.Reason, walk.Reason()) // a resumed roll-back keeps its reason
	report, err := walk.Run(cmd.Context())
	if e := f.print(cmd, report); err == nil {
		err = e
	}
	if err != nil {
		return &exitError{exitFail, err}
	}
	return nil
}

// advised adds to an error what to do about it.
func advised(err error) error {
	var a *rollback.Advised
	if errors.As(err, &a) {
		return fmt.Errorf("%w. %s", err, a.Do)
	}
	return err
}

const (
	// drainTimeout is the default time for the queue to drain.
	drainTimeout = 2 * time.Minute
	// healthTimeout is the time for the expected version to answer. --resume waits again.
	healthTimeout = 2 * time.Minute
	// goal is the longest time that a roll-back should take. The report says whether it was met.
	goal = 10 * time.Minute
)

// plan puts a new roll-back together, and asks whether to start it.
func (f *rollbackFlags) plan(cmd *cobra.Command, c config.RollbackOptions, command []string,
	gate *rollback.Remote) (rollback.Plan, error) {
	p := rollback.Plan{
		ExpectedVersion: cmp.Or(f.expect, c.ExpectedVersion), Command: command,
		Drain: cmp.Or(f.drain, drainTimeout), Run: c.CommandTimeout, Health: healthTimeout,
		Goal: goal, Idempotent: c.Idempotent && len(command) == 0, Reason: f.reason,
	}
	if len(command) == 0 {
		p.Command = c.Command
	}
	if err := p.Prepare(cmd.Context(), gate, f.gateDown); err != nil || f.yes {
		return p, err
	}
	if !terminal.Is(os.Stdin) {
		return p, errors.New("there is no terminal to ask on: pass --yes")
	}
	quoted := make([]string, len(p.Command))
	for i, word := range p.Command {
		quoted[i] = terminal.Quote(word)
	}
	fmt.Fprintf(cmd.ErrOrStderr(),
		"Roll %s back from %s to %s:\n  read_only, drain (%v), then: %s\nStart? [yes/no] ",
		f.target, p.FromVersion, p.ExpectedVersion, p.Drain, strings.Join(quoted, " "))
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if strings.TrimSpace(answer) != "yes" {
		return p, errors.New("not started")
	}
	return p, nil
}

func (f *rollbackFlags) print(cmd *cobra.Command, r rollback.Report) error {
	if f.json {
		return show.JSON(cmd.OutOrStdout(), r)
	}
	return show.Rollback(cmd.OutOrStdout(), r)
}
