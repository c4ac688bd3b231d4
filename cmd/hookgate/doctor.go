package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/config"
	"github.com/hookgate/hookgate/doctor"
	"github.com/hookgate/hookgate/internal/datadir"
	"github.com/hookgate/hookgate/queue/spool/spoolfile"
)

const (
	// usualRecord is what a queued record is taken to need, in bytes.
	usualRecord = 2 << 10
	// doctorTimeout bounds the look at each service.
	doctorTimeout = 15 * time.Second
)

func newDoctorCommand() *cobra.Command {
	var rate float64
	var processes int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look at the machine and the services, and say what to change and why",
		Long: `Look at the machine, the data directory, Redis and PostgreSQL as this configuration would
use them, and say what to change and why. Run it where the gate will run, as the user who
will run it. It changes nothing, but for a file by which it times the disk and which it
removes again.

Levels: loses data (what was acknowledged), warning (will fail or refuse under load),
advice, unknown (could not be looked at), ok.

Exit code 0: nothing loses data. 1: something does. 2: something could not be looked at.`,
		Example: `  hookgate doctor
  REDIS_URL=redis://10.0.0.1 DB_URL=postgres://gate@10.0.0.2/gate hookgate doctor --rate 500 --processes 4`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.String("config", "", "configuration `file` (default hookgate.yaml, if there is one)")
	flags.String("data-dir", "", "`folder` for store, spool and keys (default ./data)")
	flags.Float64Var(&rate, "rate", 0,
		"webhooks a second to plan for (default: as many as have come so far)")
	flags.IntVar(&processes, "processes", 1, "processes that share the database")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if rate < 0 || processes < 1 {
			return errors.New("--rate must not be negative, and --processes is 1 or more")
		}
		set := map[string]any{}
		for flag, path := range map[string]string{"config": "config", "data-dir": "data_dir"} {
			if f := flags.Lookup(flag); f.Changed {
				set[path] = f.Value.String()
			}
		}
		c, err := config.Load(os.Environ(), set)
		if err != nil {
			return err
		}
		report := doctor.Examine(cmd.Context(), doctorConfigOf(cmd.Context(), c, rate, processes))
		if asJSON {
			err = json.NewEncoder(cmd.OutOrStdout()).Encode(report)
		} else {
			err = printReport(cmd.OutOrStdout(), report)
		}
		switch worst := report.Worst(); {
		case err != nil:
			return err
		case worst == doctor.LosesData:
			return &exitError{exitFail, errors.New("as it is, acknowledged webhooks can be lost")}
		case worst == doctor.Unknown:
			return errors.New("not everything could be looked at")
		}
		return nil
	}
	return cmd
}

func doctorConfigOf(ctx context.Context, c config.Config, rate float64,
	processes int) doctor.Config {
	d := doctor.Config{
		Timeout: doctorTimeout,
		Settings: doctor.Settings{
			Listen: c.Listen, AdminListen: c.Admin.Listen, TLS: c.TLS.CertFile != "",
			MaxConnections: c.HTTP.MaxConnections, AdminTokens: len(c.AdminTokens) > 0,
		},
		DataDir: doctor.DataDir{
			Path: c.DataDir, RecordBytes: usualRecord, MaxBytes: int64(c.HTTP.MaxBody),
		},
		Redis: doctor.Redis{
			URL: c.Redis.URL, Prefix: c.Redis.Prefix, ClaimTTL: c.Queue.ClaimTTL, Rate: rate,
			HighWater: c.Queue.HighWater, RecordBytes: usualRecord,
		},
		Postgres: doctor.Postgres{URL: c.Database.URL, Schema: c.Database.Schema,
			Pool: c.Database.MaxConnections, Processes: processes, Migrates: c.Database.Migrate},
	}
	for _, path := range c.UnusedQueues() {
		records, err := spoolfile.Unreleased(ctx, path)
		d.DataDir.Left = append(d.DataDir.Left, doctor.Leftover{Path: path, Records: records, Err: err})
	}
	d.DataDir.UsedRedis = c.UsedRedis()
	var holds []string
	if c.Database.URL == "" {
		holds = append(holds, "the store")
	}
	if !c.Spool.Off {
		holds = append(holds, "the spool")
		d.DataDir.Records = c.Spool.HighWater
	}
	d.DataDir.Holds = strings.Join(append(holds, "keys"), ", ")
	for _, name := range []string{datadir.BearerKey, datadir.HmacSecret, datadir.AdminToken} {
		d.DataDir.KeyFiles = append(d.DataDir.KeyFiles, filepath.Join("keys", name))
	}
	if _, err := os.Stat(datadir.Dir(c.DataDir).KeyFile(datadir.AdminToken)); err == nil {
		d.AdminTokens = true
	}
	d.Sources, d.Open, d.KeyError = c.SourcesByKeys()
	return d
}

// printReport prints the findings by area, and then how many there are of each level.
func printReport(out io.Writer, r *doctor.Report) error {
	var b strings.Builder
	area := ""
	counts := map[doctor.Level]int{}
	for _, f := range r.Findings {
		if f.Area != area {
			area = f.Area
			fmt.Fprintln(&b, area)
		}
		counts[f.Level]++
		fmt.Fprintf(&b, "  %-10s  %s: %s\n", f.Level, f.What, f.Seen)
		if f.Want != "" {
			fmt.Fprintf(&b, "  %-10s  want: %s\n", "", f.Want)
		}
		if f.Do != "" {
			fmt.Fprintf(&b, "  %-10s  → %s\n", "", f.Do)
		}
	}
	var sum []string
	for level := doctor.LosesData; level >= doctor.OK; level-- {
		if n := counts[level]; n > 0 {
			sum = append(sum, fmt.Sprintf("%d %s", n, level))
		}
	}
	fmt.Fprintf(&b, "\n%s\n", strings.Join(sum, ", "))
	_, err := io.WriteString(out, b.String())
	return err
}
