package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/gate"
	"github.com/hookgate/hookgate/internal/progress"
	"github.com/hookgate/hookgate/internal/show"
)

func newAuditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Verify the store against its audit chains, and list admin actions",
	}
	cmd.AddCommand(newAuditVerifyCommand(), newAuditActionsCommand())
	return cmd
}

func newAuditVerifyCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Verify the audit chains and name the first break",
		Long: `Compute the audit chains of the store again and compare: every body, every event,
duplicate, dead letter and purge, their order, and the admin trail. The gate may run
meanwhile.

The store is the one that serve would use: PostgreSQL if DB_URL or database.url is set,
otherwise the file in the data directory.

The chains tell what retention has removed from what is missing. The output says how much
was removed and until when; check yourself that this agrees with retention.events and
retention.trail.

The head stands for everything that is stored. Note it down elsewhere to detect a store
that was rewritten as a whole.

Exit code 0: the chains hold. 1: there is a break. 2: the store could not be verified.`,
		Example: "  hookgate audit verify --data-dir ./data",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().String("data-dir", defaultDataDir(), "data `folder` of the gate")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadConfig(cmd, map[string]string{"data-dir": "data_dir"})
		if err != nil {
			return err
		}
		bar := progress.New(cmd.ErrOrStderr(), 0)
		c.Logger = slog.Default()
		found, err := gate.VerifyAudit(cmd.Context(), c.Options, func(a audit.Audit) {
			bar.Set(a.Links+a.Entries, fmt.Sprintf("%d entries, %d events", a.Links+a.Entries, a.Events))
		})
		bar.Done()
		if err != nil {
			return err
		}
		switch {
		case asJSON:
			err = show.Line(cmd.OutOrStdout(), gate.AuditAnswer(found))
		case found.Break == nil:
			err = found.WriteText(cmd.OutOrStdout())
		}
		if err == nil && found.Break != nil {
			err = &exitError{exitFail, fmt.Errorf("the audit chain is broken: %v", found.Break)}
		}
		return err
	}
	return cmd
}

func newAuditActionsCommand() *cobra.Command {
	var c connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "actions",
		Short: "List the admin trail: what was done, by whom, from where and why",
		Long: `List what was done over the admin API of a running gate, oldest first: who did it, with
which role, from where, with what result, and the reason given.

The admin trail has one row before each action and one after it. The table shows an
action as one line, and --json shows the rows. The result "begun" means that the action
is in progress, or that the process ended before it could record the outcome.`,
		Example: `  hookgate audit actions
  hookgate audit actions --json | jq 'select(.by == "alice")'`,
		Args: cobra.NoArgs,
	}
	c.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print NDJSON, one row of the trail per line")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, _ []string) error {
		rows := client.Actions(cmd.Context())
		if asJSON {
			return show.Lines(cmd.OutOrStdout(), rows)
		}
		return show.Actions(cmd.OutOrStdout(), rows)
	})
	return cmd
}
