package storetest

import (
	"github.com/hookgate/hookgate"
)

// pause pauses or resumes the subscription, which must change it.
func (s *subject) pause(paused bool) {
	s.Helper()
	changed, err := s.Control.SetPaused(s.Context(), s.Name, paused, person)
	if err != nil || !changed {
		s.Fatalf("pausing (%v) changed something: %v, error %v", paused, changed, err)
	}
}

// resolve settles or retries the exceptions of events, of which there must be one each.
func (s *subject) resolve(a hookgate.Resolution, events ...int64) {
	s.Helper()
	n, err := s.Control.Resolve(s.Context(), hookgate.ExceptionFilter{Subscription: s.Name,
		Events: events}, a, false, person)
	if err != nil || n != len(events) {
		s.Fatalf("%s changed %d of %d exceptions, error %v", a, n, len(events), err)
	}
}

// seek moves the cursor.
func (s *subject) seek(to hookgate.Start) hookgate.SeekResult {
	s.Helper()
	r, err := s.Control.Seek(s.Context(), s.Name, to, false, person)
	if err != nil {
		s.Fatalf("seek: %v", err)
	}
	return r
}

// redeliver stores a redelivery job.
func (s *subject) redeliver(job hookgate.RedeliveryJob) hookgate.StoredJob {
	s.Helper()
	stored, _, err := s.Control.Redeliver(s.Context(), s.Name, job, false, person)
	if err != nil {
		s.Fatalf("redeliver: %v", err)
	}
	return stored
}
