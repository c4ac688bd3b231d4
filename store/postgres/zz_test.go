package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/store/batch"
)

func cpuOf(pid int) time.Duration {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	u, _ := strconv.Atoi(f[11])
	s, _ := strconv.Atoi(f[12])
	return time.Duration(u+s) * 10 * time.Millisecond
}

type copier struct{ b []byte }

func (c *copier) begin() {
	c.b = append(c.b[:0], "PGCOPY\n\377\r\n\000"...)
	c.b = append(c.b, 0, 0, 0, 0, 0, 0, 0, 0)
}
func (c *copier) row(n int) { c.b = binary.BigEndian.AppendUint16(c.b, uint16(n)) }
func (c *copier) int(v int64) {
	c.b = binary.BigEndian.AppendUint32(c.b, 8)
	c.b = binary.BigEndian.AppendUint64(c.b, uint64(v))
}
func (c *copier) int4(v int64) {
	c.b = binary.BigEndian.AppendUint32(c.b, 4)
	c.b = binary.BigEndian.AppendUint32(c.b, uint32(v))
}
func (c *copier) text(s string) {
	c.b = binary.BigEndian.AppendUint32(c.b, uint32(len(s)))
	c.b = append(c.b, s...)
}
func (c *copier) bytes(s []byte) {
	c.b = binary.BigEndian.AppendUint32(c.b, uint32(len(s)))
	c.b = append(c.b, s...)
}

func TestZZ(t *testing.T) {
	cluster, err := pgtest.Start(t.Context(), pgtest.Options{Fsync: true, Settings: []string{"max_wal_size=4GB", "checkpoint_timeout=1h"}})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	for round := range 3 {
		for _, mode := range []string{"apply", "unnest", "copy", "copyuuid"} {
			for _, size := range []int{100, 500} {
				name, _ := cluster.NewDatabase(t.Context())
				s, err := Open(t.Context(), Config{URL: cluster.URL(name), MaxConns: 1})
				if err != nil {
					t.Fatal(err)
				}
				if mode == "copyuuid" {
					cluster.Exec(t.Context(), name, "DROP VIEW webhook_audit_trail; ALTER TABLE webhook_events ALTER request_id TYPE uuid USING request_id::uuid")
				}
				epochs := acquireAll(t, s, 0)
				pid := 0
				s.with(t.Context(), func(_ context.Context, c *pgconn.PgConn) error { pid = int(c.PID()); return nil })
				before := cpuOf(pid)
				start := time.Now()
				const total = 20000
				var cp copier
				for n := range total / size {
					b := benchBatch(n, size, epochs)
					for i := range b.Records {
						b.Records[i].MessageID = fmt.Sprintf("evt-%016x", uint64(n*size+i)*0x9E3779B97F4A7C15)
					}
					if mode == "apply" {
						if _, err := s.Apply(t.Context(), b); err != nil {
							t.Fatal(err)
						}
						continue
					}
					parts, _ := batch.Prepare(b)
					a := newApplication(b, parts)
					a.counters = &counters{events: int64(n * size)}
					err := s.with(t.Context(), func(ctx context.Context, c *pgconn.PgConn) error {
						cp.begin()
						for _, p := range a.parts {
							for i := range p.Items {
								it := &p.Items[i]
								if mode == "unnest" {
									a.addEvent(it)
									continue
								}
								a.counters.events++
								cp.row(17)
								cp.int(a.counters.events)
								cp.text(it.MessageID)
								cp.text(it.EventType)
								cp.text(it.Source)
								cp.text(it.OrderingKey)
								cp.int(it.Sequence)
								cp.bytes(it.Body)
								cp.bytes(it.BodySHA256[:])
								if mode == "copyuuid" {
									cp.bytes(it.RequestID[:])
								} else {
									cp.text(it.RequestID.String())
								}
								cp.int(it.ReceivedAt.UnixMicro())
								cp.int(it.EnqueuedAt.UnixMicro())
								cp.int(0)
								cp.text(it.HeadersJSON)
								cp.text(it.RemoteAddr)
								cp.int4(int64(it.Record.Partition))
								cp.text(it.Position)
								cp.int(1)
							}
						}
						if mode == "unnest" {
							_, err := exchange(ctx, c, []statement{{sql: "BEGIN"}, a.events.insert("webhook_events", eventInsert), {sql: "COMMIT"}})
							return err
						}
						cp.b = append(cp.b, 0xff, 0xff)
						if _, err := exchange(ctx, c, []statement{{sql: "BEGIN"}}); err != nil {
							return err
						}
						if _, err := c.CopyFrom(ctx, bytes.NewReader(cp.b), "COPY webhook_events ("+eventInsert+") FROM STDIN (FORMAT binary)"); err != nil {
							return err
						}
						_, err := exchange(ctx, c, []statement{{sql: "COMMIT"}})
						return err
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				cpu := cpuOf(pid) - before
				var walb, sz string
				t.Logf("%d %-9s %4d: %6.2f µs/event backend, %6.0f ev/s wall %s %s", round, mode, size, float64(cpu.Microseconds())/total, total/time.Since(start).Seconds(), walb, sz)
				s.Close()
			}
		}
	}
}
