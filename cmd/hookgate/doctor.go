package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/doctor"
	"github.com/hookgate/hookgate/internal/show"
)

func newDoctorCommand() *cobra.Command {
	var rate float64
	var processes int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine the machine and the services, and say what to change",
		Long: `Examine the machine, the data directory, Redis and PostgreSQL as this configuration would
use them, and say what to change and why. Run it where the gate will run, as the same
user. It changes nothing: it only writes a file to time the disk, and removes it again.

Levels: loses data (acknowledged webhooks can be lost), warning (will fail or reject
webhooks under load), advice, unknown (could not be examined), ok.

Exit code 0: nothing loses data. 1: something does. 2: something could not be examined.`,
		Example: `  hookgate doctor
  REDIS_URL=redis://10.0.0.1 DB_URL=postgres://gate@10.0.0.2/gate hookgate doctor --rate 500 --processes 4`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	configFlag(cmd)
	flags.String("data-dir", "", "`folder` for store, spool and keys (default ./data)")
	flags.Float64Var(&rate, "rate", 0,
		"webhooks per second to plan for (default: the rate so far)")
	flags.IntVar(&processes, "processes", 1, "processes that share the database")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if rate < 0 || processes < 1 {
			return errors.New("--rate must not be negative, and --processes is 1 or more")
		}
		c, err := loadConfig(cmd, map[string]string{"config": "config", "data-dir": "data_dir"})
		if err != nil {
			return err
		}
		report := doctor.Examine(cmd.Context(), c.Examination(cmd.Context(), rate, processes))
		if asJSON {
			err = show.Line(cmd.OutOrStdout(), report)
		} else {
			err = report.WriteText(cmd.OutOrStdout())
		}
		switch worst := report.Worst(); {
		case err != nil:
			return err
		case worst == doctor.LosesData:
			return &exitError{exitFail,
				errors.New("acknowledged webhooks can be lost: see the findings above")}
		case worst == doctor.Unknown:
			return errors.New("not everything could be examined")
		}
		return nil
	}
	return cmd
}
