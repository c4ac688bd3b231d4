package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/audit"
	"github.com/hookgate/hookgate/config"
	"github.com/hookgate/hookgate/gate"
	"github.com/hookgate/hookgate/internal/progress"
)

func newAuditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Check what is stored against its audit chain, and list admin actions",
	}
	cmd.AddCommand(newAuditVerifyCommand(), newAuditActionsCommand())
	return cmd
}

func newAuditVerifyCommand() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Walk the audit chain and name the first break",
		Long: `Compute the audit chains of the store anew and compare: every body, every event,
duplicate, dead letter and purge and their order, and the admin trail. The gate may run
meanwhile.

The store is the one that serve would use: PostgreSQL if DB_URL or database.url names
one, else the file in the data directory.

What retention has removed is told apart from what is missing: the chains go on across
it, and the answer says how much was removed and until when. That it is no younger
than retention.events and retention.trail allowed is for you to see.

The head that is printed stands for all of it; note it down elsewhere, and a later
copy of the same state can be told from one that was rewritten as a whole.

Exit code 0: the chains hold. 1: there is a break. 2: it could not be checked.`,
		Example: "  hookgate audit verify --data-dir ./data",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVar(&dir, "data-dir", defaultDataDir(), "data `folder` of the gate")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		set := map[string]any{}
		if cmd.Flags().Changed("data-dir") {
			set["data_dir"] = dir
		}
		c, err := config.Load(os.Environ(), set)
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
		if err := printAudit(cmd, found, asJSON); err != nil {
			return err
		}
		if found.Break != nil {
			return &exitError{exitFail, fmt.Errorf("the audit chain is broken: %v", found.Break)}
		}
		return nil
	}
	return cmd
}

func printAudit(cmd *cobra.Command, a audit.Audit, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(gate.AuditAnswer(a))
	}
	if a.Break != nil {
		return nil // the error says it
	}
	purged := ""
	if a.Purged > 0 {
		purged = fmt.Sprintf(" (%d purged)", a.Purged)
	}
	links := ""
	if a.Links > 0 {
		links = fmt.Sprintf(" and %d links of earlier releases", a.Links)
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "OK: %d entries%s, %d events, %d duplicates, %d dead letters%s, %d rows of the admin trail\n",
		a.Entries, links, a.Events, a.Duplicates, a.DeadLetters, purged, a.Actions)
	if r := a.Removed; r.Links+r.Entries > 0 {
		fmt.Fprintf(out, "removed by retention: %d entries, %d links of earlier releases, with %d events, %d duplicates and %d purged dead letters, stored until %s\n",
			r.Entries, r.Links, r.Events, r.Duplicates, r.DeadLetters, r.Until.Format(time.RFC3339))
	}
	if a.Bodies > 0 {
		fmt.Fprintf(out, "removed by retention: the bodies of %d of the events, stored until %s\n",
			a.Bodies, a.BodiesUntil.Format(time.RFC3339))
	}
	if a.Tests > 0 {
		fmt.Fprintf(out, "removed test traffic: the bodies of %d of the events\n", a.Tests)
	}
	_, err := fmt.Fprintf(out, "head %x\n", a.Head)
	return err
}
