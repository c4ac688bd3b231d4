package certify

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/load"
)

// The files of a bundle. Those of the second group are in the folder of each phase. Derived files
// can be computed from the others.
const (
	profileFile     = "profile.json"
	startFile       = "certification.json"
	logFile         = "execution.log"
	environmentFile = "environment.json"
	auditFile       = "audit.json"
	auditBeforeFile = "audit-before.json"
	rolesFile       = "roles.json"
	credentialsFile = "credentials.json"
	settledFile     = "metrics-settled.txt"
	approvalsFile   = "approvals.json"
	trailFile       = "admin-trail.json"
	verdictFile     = "verdict.json" // derived
	reportFile      = "report.html"  // derived

	phaseFile   = "phase.json"
	ledgerFile  = "ledger.ndjson"
	eventsFile  = "events.ndjson"
	lineageFile = "lineage.ndjson"
	samplesFile = "lineage-samples.json"
	againFile   = "reread.ndjson"
	// lineageAgainFile has the second reading of the lineage.
	lineageAgainFile = "lineage-again.ndjson"
	readAPIFile      = "read-api.ndjson"
	depthFile        = "health.ndjson"
	beforeFile       = "metrics-before.txt"
	afterFile        = "metrics-after.txt"
	histogramsFile   = "histograms.json"   // derived
	budgetFile       = "error-budget.json" // derived
	duplicatesFile   = "idempotency.json"  // derived
	orderFile        = "ordering.json"     // derived
	storeFile        = "store.json"        // derived
	answersFile      = "answers.json"      // derived
	timesFile        = "times.json"        // derived
)

// bundleFormat is the format of the bundles that this version makes and judges. It changes when a
// file that a verdict needs is added, or when derived files change.
const bundleFormat = 4

// start is what is known at the beginning of a certification, and when it ended.
type start struct {
	// Format is bundleFormat of the version that made the bundle; 0 before there was a number.
	Format int    `json:"format"`
	RunID  string `json:"runId"`
	Target string `json:"target"`
	// Asked are the phases that were requested, Phases those that were begun; of a ramp, its steps.
	Asked    []string  `json:"asked"`
	Phases   []string  `json:"phases"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	Version  string    `json:"version"`
	// Input is the SHA-256 of the recorded traffic; empty if events were generated.
	Input string `json:"input,omitempty"`
}

// phaseRun has what is known of a phase beyond its other files.
type phaseRun struct {
	Phase  string `json:"phase"`
	Prefix string `json:"prefix"` // of the message ids; empty for recorded traffic
	Rate   float64
	// Planned is the number of requests; 0 if it is not known before the end of a recording.
	Planned int       `json:"planned"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
	// Stopped is the reason why not everything was sent; empty if everything was.
	Stopped string `json:"stopped,omitempty"`
	// Drained is true if the target's queue was empty, DrainSeconds after the last answer.
	Drained      bool    `json:"drained"`
	DrainSeconds float64 `json:"drainSeconds"`
	// Read is when the events and their lineage had been read back.
	Read time.Time `json:"read,omitzero"`
	// Unread is the reason why the events could not be read back; empty if they could.
	Unread string `json:"unread,omitempty"`
	// UnreadMetrics is the reason why the metrics could not be read.
	UnreadMetrics string `json:"unreadMetrics,omitempty"`
}

// storedEvent is a line of events.ndjson: an event as the target lists it, and the digest of its
// body.
type storedEvent struct {
	Event json.RawMessage `json:"event"`
	// BodySHA256 is empty if there was no body.
	BodySHA256 string `json:"bodySha256"`
	BodySize   int    `json:"bodySize"`
}

// listedEvent is an event of the read API.
type listedEvent struct {
	ID          string
	Source      string
	MessageID   string
	EventType   string
	OrderingKey string
	Sequence    *int64
	RequestID   string
	ReceivedAt  string
	PersistedAt string
	Partition   *int64
	Position    string
	Size        int64
	SHA256      string
	Headers     []hookgate.Header
}

// gzipped reports whether the event is listed with the header of a compressed body.
func (l *listedEvent) gzipped() bool {
	return slices.ContainsFunc(l.Headers, func(h hookgate.Header) bool {
		return strings.EqualFold(h.Name, "Content-Encoding") && h.Value == "gzip"
	})
}

// trail is a line of lineage.ndjson.
type trail struct {
	MessageID string         `json:"messageId"`
	Requests  []requestTrail `json:"requests"`
}

type requestTrail struct {
	RequestID string  `json:"requestId"`
	EventType string  `json:"eventType"`
	Source    string  `json:"source"`
	Stages    []stage `json:"stages"`
}

type stage struct {
	Stage     string    `json:"stage"`
	Timestamp time.Time `json:"timestamp"`
	Metadata  struct {
		// Batch names the transaction of the store, at the stage that reports it.
		Batch int64 `json:"batch,omitempty"`
		// Worker is the process, or a part of it, whose clock counts from processed on.
		Worker string `json:"worker,omitempty"`
	} `json:"metadata,omitzero"`
}

// reading is a line of reread.ndjson: the digests of the line and the body of an event at the
// second reading.
type reading struct {
	ID         string `json:"id"`
	LineSHA256 string `json:"lineSha256"`
	BodySHA256 string `json:"bodySha256"`
	// Event is the line, if the first reading did not have the event.
	Event json.RawMessage `json:"event,omitempty"`
}

// sample is a line of health.ndjson.
type sample struct {
	At     time.Time `json:"at"`
	Depth  *int64    `json:"depth"`
	Status string    `json:"status"`
	Error  string    `json:"error,omitempty"`
}

// writeJSON writes a file of the bundle.
func writeJSON(path string, v any) error {
	text, err := encodeJSON(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	return os.WriteFile(path, text, 0o644)
}

func encodeJSON(v any) ([]byte, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	return append(text, '\n'), err
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// readLines yields the values of an NDJSON file. A missing file has none.
func readLines[T any](path string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		f, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			return
		} else if err != nil {
			yield(zero, err)
			return
		}
		defer f.Close()
		for in, n := json.NewDecoder(bufio.NewReaderSize(f, 256<<10)), 1; ; n++ {
			var v T
			err := in.Decode(&v)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(zero, fmt.Errorf("%s: entry %d: %w", path, n, err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

// readLedger yields the attempts of a ledger. It ends at an incomplete last line.
func readLedger(path string) iter.Seq2[load.Attempt, error] {
	return func(yield func(load.Attempt, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(load.Attempt{}, err)
			return
		}
		defer f.Close()
		for a, err := range load.ReadLedger(f) {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return
			}
			if !yield(a, err) || err != nil {
				return
			}
		}
	}
}

// lineWriter writes NDJSON.
type lineWriter struct {
	file *os.File
	out  *bufio.Writer
}

func createLines(path string) (*lineWriter, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &lineWriter{f, bufio.NewWriterSize(f, 256<<10)}, nil
}

func (w *lineWriter) write(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.writeRaw(line)
}

func (w *lineWriter) writeRaw(line []byte) error {
	w.out.Write(line) // the error stays in out
	return w.out.WriteByte('\n')
}

func (w *lineWriter) close() error { return errors.Join(w.out.Flush(), w.file.Close()) }
