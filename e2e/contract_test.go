package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hookgate/hookgate/control"
)

// This file has the names and forms by which the tests know the gate. They are written down a
// second time on purpose: a change of the gate that changes one of them is a change of its
// contract.

// Exit codes of every command.
const (
	exitFail     = 1
	exitNoResult = 2
)

// Values of the setting role.
const (
	roleAll     = "all"
	roleDeliver = "deliver"
	roleIngest  = "ingest"
	roleWorker  = "worker"
)

// The kinds of queue that the health reports.
const (
	kindDirect = "direct"
	kindRedis  = "redis"
)

// Names of the files with the keys that the first start makes.
const (
	bearerKeyName  = "bearer_key"
	hmacSecretName = "hmac_secret"
	adminTokenName = "admin_token"
)

// envPrefix begins the names of all settings in the environment but those in environment.
const envPrefix = "HOOKGATE_"

var environment = []string{"REDIS_URL", "DB_URL", "WORKER_COUNT", "WEBHOOK_BEARER_KEY",
	"WEBHOOK_HMAC_SECRET", "ADMIN_TOKEN", "EVIDENCE_TOKEN"}

// clearEnvironment removes all settings of hookgate from the environment of the tests.
func clearEnvironment() {
	for _, name := range environment {
		os.Unsetenv(name)
	}
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, envPrefix) {
			name, _, _ := strings.Cut(variable, "=")
			os.Unsetenv(name)
		}
	}
}

// dataDir is the data directory of a gate.
type dataDir string

func (d dataDir) keyFile(name string) string { return filepath.Join(string(d), "keys", name) }
func (d dataDir) storeFile() string          { return filepath.Join(string(d), "store.db") }
func (d dataDir) rollbackLog() string        { return filepath.Join(string(d), "release-rollback.log") }

func (d dataDir) readKey(name string) (string, error) {
	text, err := os.ReadFile(d.keyFile(name))
	return strings.TrimSpace(string(text)), err
}

// canary returns the canary that was in effect last, as the gate keeps it for its next start.
func (d dataDir) canary() (control.Canary, error) {
	text, err := os.ReadFile(filepath.Join(string(d), "canary"))
	if err != nil {
		return control.Canary{}, err
	}
	return control.ParseCanary(strings.TrimSpace(string(text)))
}

// auditFailed reports whether the last verification of the audit chain found a break.
func (d dataDir) auditFailed() bool {
	_, err := os.Stat(filepath.Join(string(d), "audit-failed"))
	return err == nil
}

// certificateFiles are the files of a certificate and its key.
type certificateFiles struct{ CertFile, KeyFile string }

// action is an entry of /admin/audit/actions.
type action struct {
	At                                                   time.Time
	RequestID                                            string
	By, Role, RemoteAddr, Action, Target, Reason, Result string
}

// approval is an entry of /admin/approvals.
type approval struct {
	ID, Action, Target, RequestedBy, Reason string
	State                                   control.ApprovalState
	RequestedAt, ExpiresAt                  time.Time
	DecidedBy, DecisionReason               string
}

// retryRefusals is how often in a row the gate may refuse to go on with a retry of dead letters,
// without anything being done, until the command gives up.
const retryRefusals = 10

// canaryPath serves a canaryState.
const canaryPath = "/admin/canary"

type canaryState struct {
	Configured bool
	Upstream   string
	Percent    int
	At         *time.Time
	By, Reason string
	Evidence   string
	Plan       []struct {
		Percent    int
		ForSeconds float64
	}
	Step           int
	WatchedSeconds float64
	Held           string
	Verdict        struct {
		Fired   []string
		Unknown string
	}
	Stored   bool
	Recorded *bool
}

// letter is a dead letter.
type letter struct {
	ID, State, Source, MessageID, EventType, OrderingKey string
	Sequence                                             *int64
	RequestID, RemoteAddr, Reason, Position, SHA256      string
	Partition                                            int
	Size                                                 int64
	ReceivedAt, DeadLetteredAt                           time.Time
	RetryOf                                              string
	RetriedAt, PurgedAt                                  *time.Time
	PurgedBy, PurgeReason                                string
	Attempts                                             int
	LastError                                            string
}

// trace is the answer of /api/trace/{messageId}.
type trace struct {
	MessageID string
	Next      string
	Requests  []struct {
		RequestID string
		Stages    []struct {
			Stage     string
			Timestamp time.Time
			Metadata  json.RawMessage
		}
	}
}

// tokenAnswer is the answer of /admin/tokens to a new token.
type tokenAnswer struct {
	Token     string
	Name      string
	Role      string
	CreatedAt time.Time
	CreatedBy string
	ExpiresAt *time.Time
	RevokedAt *time.Time
}
