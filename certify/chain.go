package certify

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
)

// audit has the target verify its audit chain, and writes the answer into a file.
func (c *certification) audit(ctx context.Context, file string) error {
	c.doing("", "verifying the audit chain")
	text, err := c.target.verify(ctx, seconds(c.Profile.AuditTimeoutSeconds))
	return writeJSON(c.file(file), answerOf(text, err))
}

// chainState is the answer of the target about its audit chain.
type chainState struct {
	OK         *bool           `json:"ok"`
	Break      json.RawMessage `json:"break"`
	Head       string          `json:"head"`
	Entries    int64           `json:"entries"`
	Events     int64           `json:"events"`
	Duplicates int64           `json:"duplicates"`
	Removed    struct {
		Entries    int64 `json:"entries"`
		Events     int64 `json:"events"`
		Duplicates int64 `json:"duplicates"`
	} `json:"removed"`
}

// readChain reads an answer, or says why there is none.
func readChain(path string) (s chainState, problem string, err error) {
	var a asked
	if err := readJSON(path, &a); err != nil && !errors.Is(err, os.ErrNotExist) {
		return s, "", err
	}
	switch err := json.Unmarshal(a.Answer, &s); {
	case a.Answer == nil:
		return s, "the target did not verify it: " + orElse(a.Error, "it was not asked"), nil
	case err != nil || s.OK == nil:
		return s, "the answer does not say whether the chain holds", nil
	}
	return s, "", nil
}

// auditCriterion is the target's own statement about its audit chain, before the first phase and
// after the last one. In between the chain must have grown by everything that the certification
// found stored.
func (c *conclusion) auditCriterion(dir string) (Criterion, error) {
	criterion := Criterion{ID: "audit_chain", Relation: "=", Unit: "faults", Evidence: auditFile,
		Text: "breaks of the target's audit chain, and stored requests that it does not cover"}
	before, problem, err := readChain(filepath.Join(dir, auditBeforeFile))
	if err != nil {
		return criterion, err
	}
	after, problemAfter, err := readChain(filepath.Join(dir, auditFile))
	if err != nil {
		return criterion, err
	}
	if problem = orElse(problemAfter, problem); problem != "" {
		criterion.invalidate("%s", problem)
		return criterion, nil
	}
	fault := func(format string, args ...any) {
		criterion.Value++
		criterion.find(format, args...)
	}
	if !*before.OK {
		fault("it was broken before the certification: %s", head(string(before.Break)))
	}
	if !*after.OK {
		fault("it is broken: %s", head(string(after.Break)))
	}
	if events, duplicates := c.traced(); *after.OK && events > 0 {
		for _, grown := range []struct {
			what          string
			before, after int64
			stored        int64
		}{
			{"events", before.Events + before.Removed.Events, after.Events + after.Removed.Events, events},
			{"duplicates", before.Duplicates + before.Removed.Duplicates,
				after.Duplicates + after.Removed.Duplicates, duplicates},
			{"entries", before.Entries + before.Removed.Entries, after.Entries + after.Removed.Entries,
				events + duplicates},
		} {
			if by := grown.after - grown.before; by < grown.stored {
				fault("it covers %d more %s than before the certification, which stored %d", by, grown.what,
					grown.stored)
			}
		}
		if after.Head == "" || after.Head == before.Head {
			fault("its head %q is that of before the certification", head(after.Head))
		}
	}
	if criterion.decide(); criterion.Status == Pass {
		criterion.Note = "head " + after.Head
	}
	return criterion, nil
}

// traced counts the events of this certification that are stored, and its repetitions, by their
// trails.
func (c *conclusion) traced() (events, duplicates int64) {
	for _, p := range c.phases {
		events += p.tracedEvents
		duplicates += p.tracedDuplicates
	}
	return events, duplicates
}
