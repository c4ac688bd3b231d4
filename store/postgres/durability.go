package postgres

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// durability describes what the server's commits survive.
type durability struct {
	// commit is the synchronous_commit with which Apply commits.
	commit                string
	fsync, fullPageWrites bool
	// standbyNames is synchronous_standby_names.
	standbyNames string
	// synchronous and asynchronous count the connected standbys. hidden counts those whose state
	// the server does not show to this user.
	synchronous, asynchronous, hidden int64
}

// Durability describes in words what a commit survives now. It promises nothing that the server's
// settings contradict.
func (s *Store) Durability(ctx context.Context) (worth string, err error) {
	var d durability
	err = s.read(ctx, statement{
		sql: `SELECT CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
			ELSE current_setting('synchronous_commit') END,
				current_setting('fsync')::boolean, current_setting('full_page_writes')::boolean,
				current_setting('synchronous_standby_names'),
				count(*) FILTER (WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')),
				count(*) FILTER (WHERE state IN ('streaming', 'catchup')
					AND sync_state IN ('async', 'potential')),
				count(*) FILTER (WHERE pid IS NOT NULL AND state IS NULL)
			FROM pg_stat_replication`,
		row: func(r row) error {
			d = durability{
				commit: r.Text(0), fsync: r.Bool(1), fullPageWrites: r.Bool(2), standbyNames: r.Text(3),
				synchronous: r.Int(4), asynchronous: r.Int(5), hidden: r.Int(6),
			}
			return nil
		},
	})
	if err != nil {
		return "", fmt.Errorf("read the durability settings of %s: %w", s.target, err)
	}
	return d.String(), nil
}

// String describes what a commit survives.
func (d durability) String() string {
	switch {
	case !d.fsync:
		return "survives a crash of the database process; a power cut may lose it: fsync is off"
	case !d.fullPageWrites:
		return "survives a crash of the database process; a power cut may corrupt the database:" +
			" full_page_writes is off"
	}
	const local = "survives a crash of the server; its loss loses "
	if d.standbyNames != "" && d.commit != "local" {
		return d.synchronously()
	}
	switch {
	case d.asynchronous+d.hidden > 0:
		return local + "commits that asynchronous standbys had not received yet"
	default:
		return local + "it: no standby is connected"
	}
}

// requiredStandbys finds the number in synchronous_standby_names, as in "ANY 2 (a, b, c)".
var requiredStandbys = regexp.MustCompile(`(?i)^\s*(?:(?:first|any)\s+)?(\d+)\s*\(`)

// synchronously is String for a server that waits for standbys.
func (d durability) synchronously() string {
	want := int64(1)
	if m := requiredStandbys.FindStringSubmatch(d.standbyNames); m != nil {
		if n, err := strconv.ParseInt(m[1], 10, 64); err == nil {
			want = n
		}
	}
	number := func(n int64) string {
		if n == 1 {
			return "one synchronous standby"
		}
		return fmt.Sprintf("%d synchronous standbys", n)
	}
	have := d.synchronous
	if d.hidden > 0 && have+d.hidden >= want {
		return fmt.Sprintf("waits for %s, whose state this user may not read; grant it pg_read_all_stats",
			number(want))
	}
	switch {
	case have < want:
		return fmt.Sprintf("waits for %s, and %d are connected: no commit succeeds", number(want), have)
	case d.commit == "remote_write":
		return "survives the loss of this machine unless the standby's crashes too: " + number(want) +
			", which need not have written it to disk"
	}
	return "survives the loss of this machine: " + number(want)
}

// waitCancelled is the key under which noteWarning stores the text of the warning in the
// connection's custom data.
const waitCancelled = "hookgate: wait for standbys cancelled"

// noteWarning receives the notices of a connection. If the wait for a synchronous standby is
// cancelled, by a time-out, a person or a shutdown, PostgreSQL answers the commit with success and
// a warning. If this server is then lost, so is the commit. The name of the routine identifies the
// warning in every language.
func noteWarning(conn *pgconn.PgConn, n *pgconn.Notice) {
	if n.Routine == "SyncRepWaitForLSN" {
		conn.CustomData()[waitCancelled] = n.Message
	}
}

// cancelledWait returns an error if the last commit did not wait for its standbys.
func cancelledWait(conn *pgconn.PgConn) error {
	text, cancelled := conn.CustomData()[waitCancelled]
	if !cancelled {
		return nil
	}
	delete(conn.CustomData(), waitCancelled)
	return fmt.Errorf("the commit may be lost with the server: %v", text)
}
