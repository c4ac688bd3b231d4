package ingest

import (
	"sync/atomic"
	"time"

	"github.com/hookgate/hookgate/admit"
)

// SourceStatus is a source and its traffic since the start of the process.
type SourceStatus struct {
	Source
	Path                                       string
	Accepted, Duplicates, Rejected, Handshakes int64
	LastAt                                     time.Time // zero: no request was accepted
	// Rejections are the requests of Rejected by status and reason, the most frequent first.
	Rejections  []RejectionCount
	Credentials []CredentialStatus
}

// CredentialStatus is one of the credentials of a source.
type CredentialStatus struct {
	// Setting and Position say where it stands in the configuration; Position counts from 1.
	Setting  string
	Position int
	LastAt   time.Time // when a request authenticated itself with it last; zero: none did
}

// Status returns all configured sources, by name.
func (h *Handler) Status() []SourceStatus {
	all := make([]SourceStatus, len(h.byName))
	for i, s := range h.byName {
		all[i] = SourceStatus{
			Source: s.Source, Path: s.path(),
			Accepted: s.counts.accepted.Load(), Duplicates: s.counts.duplicates.Load(),
			Rejected: s.counts.rejected.Load(), Handshakes: s.counts.handshakes.Load(),
			LastAt: timeOf(&s.counts.lastMicros), Rejections: s.rejections.all(),
			Credentials: s.credentials(),
		}
	}
	return all
}

var settingNames = [2]string{admit.Secrets: "secrets", admit.BearerKeys: "bearer_keys"}

// credentials returns the credentials in the order of the configuration.
func (s *servedSource) credentials() (all []CredentialStatus) {
	for setting, name := range settingNames {
		for i := range s.used[setting] {
			all = append(all, CredentialStatus{name, i + 1, timeOf(&s.used[setting][i])})
		}
	}
	return all
}

func timeOf(micros *atomic.Int64) time.Time {
	if at := micros.Load(); at != 0 {
		return time.UnixMicro(at)
	}
	return time.Time{}
}
