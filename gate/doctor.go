package gate

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hookgate/hookgate/doctor"
	"github.com/hookgate/hookgate/internal/datadir"
	"github.com/hookgate/hookgate/queue/spool/spoolfile"
)

const (
	// usualRecord is the size that a queued record is assumed to have, in bytes.
	usualRecord = 2 << 10
	// serviceTimeout bounds the examination of each service.
	serviceTimeout = 15 * time.Second
)

// Examination returns what hookgate doctor examines for a gate with these options. rate is the
// number of webhooks per second to plan for, 0 for as many as there have been so far. processes
// share the database.
func (c Options) Examination(ctx context.Context, rate float64, processes int) doctor.Config {
	d := doctor.Config{
		Timeout: serviceTimeout,
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
		d.DataDir.Records = c.Queue.HighWater
	}
	d.DataDir.Holds = strings.Join(append(holds, "keys"), ", ")
	for _, name := range []string{datadir.BearerKey, datadir.HMACSecret, datadir.AdminToken} {
		d.DataDir.KeyFiles = append(d.DataDir.KeyFiles, filepath.Join("keys", name))
	}
	if _, err := os.Stat(datadir.Dir(c.DataDir).KeyFile(datadir.AdminToken)); err == nil {
		d.AdminTokens = true
	}
	d.Sources, d.Open, d.KeyError = c.SourcesByKeys()
	return d
}
