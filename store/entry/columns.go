package entry

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/audit"
)

// Table is one of the tables that contain entries of the log, or a set of them.
type Table int

// The tables.
const (
	// Events is webhook_events.
	Events Table = 1 << iota
	// RemovedEvents is webhook_removed_events: events whose body retention has removed.
	RemovedEvents
	// Requests is webhook_requests: duplicates and dead letters.
	Requests

	all = Events | RemovedEvents | Requests
)

// Type is the type of a column. TestColumns in each store names its SQL type.
type Type int

// The types.
const (
	Int Type = iota
	Text
	Bytes
	Bool
)

// Column is a column of the tables that contain entries of the log.
type Column struct {
	Name string
	Type Type
	// In is the set of tables that have the column.
	In Table
	// InLog reports that the column came with webhook_log. Stores of earlier releases lack it.
	InLog bool

	write func(Cells, *Item)
	scan  func(Row, int, *Stored)
}

// columns is the only list of columns. All statements that insert, read, verify or remove entries
// derive their columns from it. To add a column, append it here, write a migration for each store,
// and add it to audit.Entry if the chain must cover it.
var columns = Columns{
	{"id", Int, all, false,
		func(c Cells, it *Item) { c.Int(it.ID) },
		func(r Row, i int, s *Stored) { s.ID = r.Int(i) }},
	{"message_id", Text, all, false,
		func(c Cells, it *Item) { c.Text(it.MessageID) },
		func(r Row, i int, s *Stored) { s.Request.MessageID = r.Text(i) }},
	{"event_type", Text, all, false,
		func(c Cells, it *Item) { c.Text(it.EventType) },
		func(r Row, i int, s *Stored) { s.Request.EventType = r.Text(i) }},
	{"source", Text, all, false,
		func(c Cells, it *Item) { c.Text(it.Source) },
		func(r Row, i int, s *Stored) { s.Request.Source = r.Text(i) }},
	{"ordering_key", Text, all, false,
		func(c Cells, it *Item) { c.Text(it.OrderingKey) },
		func(r Row, i int, s *Stored) { s.Request.OrderingKey = r.Text(i) }},
	{"sequence", Int, all, false,
		func(c Cells, it *Item) { c.Int(it.Sequence) },
		func(r Row, i int, s *Stored) { s.Request.Sequence = r.Int(i) }},
	{"sha256", Bytes, all, false,
		func(c Cells, it *Item) { c.Bytes(it.BodySHA256[:]) },
		func(r Row, i int, s *Stored) { r.Copy(i, s.BodySHA256[:]) }},
	{"request_id", Text, all, false,
		func(c Cells, it *Item) { c.Text(it.RequestID.String()) },
		func(r Row, i int, s *Stored) { s.RequestID = r.Text(i) }},
	{"received_at", Int, all, false,
		func(c Cells, it *Item) { c.Int(hookgate.Micros(it.ReceivedAt)) },
		func(r Row, i int, s *Stored) { s.Request.ReceivedAt = micros(r.Int(i)) }},
	{"enqueued_at", Int, all, false,
		func(c Cells, it *Item) { c.Int(hookgate.Micros(it.EnqueuedAt)) },
		func(r Row, i int, s *Stored) { s.EnqueuedAt = micros(r.Int(i)) }},
	{"spooled_at", Int, all, false,
		func(c Cells, it *Item) { c.Int(hookgate.Micros(it.SpooledAt)) },
		func(r Row, i int, s *Stored) { s.Request.SpooledAt = hookgate.FromMicros(r.Int(i)) }},
	{"replay_of", Text, all, false,
		func(c Cells, it *Item) { c.Text(audit.RequestIDText(it.RetryOf)) },
		func(r Row, i int, s *Stored) { s.RetryOf = r.Text(i) }},
	{"replayed_at", Int, all, false,
		func(c Cells, it *Item) { c.Int(hookgate.Micros(it.RetriedAt)) },
		func(r Row, i int, s *Stored) { s.Request.RetriedAt = hookgate.FromMicros(r.Int(i)) }},
	{"headers", Text, all, false,
		func(c Cells, it *Item) { c.Text(it.HeadersJSON) },
		func(r Row, i int, s *Stored) { s.HeadersJSON = r.Text(i) }},
	{"remote_addr", Text, all, false,
		func(c Cells, it *Item) { c.Text(it.RemoteAddr) },
		func(r Row, i int, s *Stored) { s.Request.RemoteAddr = r.Text(i) }},
	{"partition", Int, all, false,
		func(c Cells, it *Item) { c.Int(int64(it.Partition)) },
		func(r Row, i int, s *Stored) { s.Partition = int(r.Int(i)) }},
	{"position", Text, all, false,
		func(c Cells, it *Item) { c.Text(it.Position) },
		func(r Row, i int, s *Stored) { s.Position = r.Text(i) }},
	{"batch", Int, all, false,
		func(c Cells, it *Item) { c.Int(it.Batch) },
		func(r Row, i int, s *Stored) { s.Batch = r.Int(i) }},
	{"keyed", Bool, all, true,
		func(c Cells, it *Item) { c.Bool(it.Keyed) },
		func(r Row, i int, s *Stored) { s.Request.Keyed = r.Bool(i) }},
	{"processed_at", Int, all, true,
		func(c Cells, it *Item) { c.Int(hookgate.Micros(it.ProcessedAt)) },
		func(r Row, i int, s *Stored) { s.ProcessedAt = micros(r.Int(i)) }},
	{"persisted_at", Int, all, true,
		func(c Cells, it *Item) { c.Int(hookgate.Micros(it.PersistedAt)) },
		func(r Row, i int, s *Stored) { s.PersistedAt = micros(r.Int(i)) }},
	{"worker", Text, all, true,
		func(c Cells, it *Item) { c.Text(it.Worker) },
		func(r Row, i int, s *Stored) { s.Worker = r.Text(i) }},
	{"attempts", Int, all, true,
		func(c Cells, it *Item) { c.Int(int64(it.Attempts)) },
		func(r Row, i int, s *Stored) { s.Attempts = int(r.Int(i)) }},
	{"last_error", Text, all, true,
		func(c Cells, it *Item) { c.Text(it.LastError) },
		func(r Row, i int, s *Stored) { s.LastError = r.Text(i) }},
	{"hash", Bytes, all, true,
		func(c Cells, it *Item) { c.Bytes(it.Hash[:]) },
		func(r Row, i int, s *Stored) { s.Sealed = r.Len(i) > 0; r.Copy(i, s.Hash[:]) }},
	{"identity", Bytes, Events | Requests, true,
		func(c Cells, it *Item) { c.Bytes(it.Key[:]) },
		func(r Row, i int, s *Stored) { s.Key = r.Bytes(i) }},
	{"payload", Bytes, Events, false,
		func(c Cells, it *Item) { c.Bytes(it.Body) },
		func(r Row, i int, s *Stored) { s.Body = r.Bytes(i) }},
	{"outcome", Text, Requests, false,
		func(c Cells, it *Item) { c.Text(string(it.Outcome)) },
		func(r Row, i int, s *Stored) { s.Outcome = hookgate.Stage(r.Text(i)) }},
	{"first_request_id", Text, Requests, false,
		func(c Cells, it *Item) { c.Text(audit.RequestIDText(it.FirstRequestID)) },
		func(r Row, i int, s *Stored) { s.FirstRequestID = r.Text(i) }},
	{"reason", Text, Requests, false,
		func(c Cells, it *Item) { c.Text(it.Reason) },
		func(r Row, i int, s *Stored) { s.Reason = r.Text(i) }},
}

// Columns is an ordered list of columns of one table.
type Columns []Column

// ColumnsOf returns the columns of a table.
func ColumnsOf(t Table) (in Columns) {
	for _, c := range columns {
		if c.In&t != 0 {
			in = append(in, c)
		}
	}
	return in
}

// Only returns the columns with these names, in the order of the table.
func (cs Columns) Only(names ...string) Columns {
	return slices.DeleteFunc(slices.Clone(cs),
		func(c Column) bool { return !slices.Contains(names, c.Name) })
}

// Names returns the names for an SQL statement, each with a prefix.
func (cs Columns) Names(prefix string) string {
	names := make([]string, len(cs))
	for i, c := range cs {
		names[i] = prefix + c.Name
	}
	return strings.Join(names, ", ")
}

// OfEarlierRelease returns the names, but a constant instead of each column that stores of earlier
// releases lack. noBytes is the SQL for empty bytes.
func (cs Columns) OfEarlierRelease(noBytes string) string {
	names := make([]string, len(cs))
	for i, c := range cs {
		names[i] = c.Name
		if c.InLog {
			names[i] = map[Type]string{Int: "0", Text: "''", Bool: "false", Bytes: noBytes}[c.Type]
		}
	}
	return strings.Join(names, ", ")
}

// Cells receives the cells of a new row from left to right.
type Cells interface {
	Int(int64)
	Bool(bool)
	Text(string)
	Bytes([]byte)
}

// Write writes an item into cells, one cell for each column.
func (cs Columns) Write(cells Cells, it *Item) {
	for i := range cs {
		cs[i].write(cells, it)
	}
}

// Row is one row of a result. It is valid until the function that received it returns.
type Row interface {
	Int(column int) int64
	Bool(column int) bool
	Text(column int) string
	// Bytes returns a copy.
	Bytes(column int) []byte
	// Copy fills dst with the bytes of a column.
	Copy(column int, dst []byte)
	// Len returns the number of bytes of a column.
	Len(column int) int
	IsNull(column int) bool
}

// Stored is a row of one of the tables. Request is the request that its Entry refers to.
type Stored struct {
	audit.Row
	Request hookgate.Request
}

// Scan reads a row that begins with these columns into s. It sets only the fields of these columns,
// so rows of the same columns can use the same s.
func (cs Columns) Scan(r Row, s *Stored) {
	for i := range cs {
		cs[i].scan(r, i, s)
	}
	if len(s.Key) == 0 && !s.Sealed {
		s.Key = nil // a row of an earlier release
	}
}

// Audited returns the row in the form that an audit takes. It is valid until s is moved or changed.
func (s *Stored) Audited() *audit.Row {
	s.Row.Entry.Request = &s.Request
	return &s.Row
}

// ShownPosition returns the position for readers. An entry that the store took itself has no
// position in a queue, so readers see its id.
func (s *Stored) ShownPosition() string {
	if s.Position == "" {
		return strconv.FormatInt(s.ID, 10) + "-0"
	}
	return s.Position
}

func micros(n int64) time.Time { return time.UnixMicro(n).UTC() }
