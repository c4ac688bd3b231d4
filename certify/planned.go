package certify

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hookgate/hookgate/load"
)

// planOf is the plan of a phase. It depends on the profile and the prefix of the message ids only,
// so Judge computes it again.
func (p Profile) planOf(prefix string, ph Phase) plan {
	return plan{prefix: prefix, seed: p.Seed, events: ph.count(), keys: ph.Keys,
		duplicatePercent: ph.Duplicates, size: ph.Size, maxSize: ph.MaxSize, gzipPercent: ph.Gzip,
		names: keysOfShare(prefix, ph.Keys, p.CanaryPercent)}
}

// prefixOf begins the message ids of a phase.
func prefixOf(runID, phase string) string { return runID + "-" + phase + "-" }

// plannedDigest is the digest of everything in a ledger line that follows from the plan.
type plannedDigest [16]byte

func digestOf(a *load.Attempt) plannedDigest {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d %s %s %v", a.MessageID, a.EventType,
		a.OrderingKey, a.Sequence, a.SHA256, a.Kind, a.Gzip))
	return plannedDigest(sum[:16])
}

// mostLines is a number that no line of an honest ledger exceeds. Anyone can have written the
// profile, so the memory must follow from the files and not from the number of events in it.
func mostLines(size int64) int64 { return 4096 + size/16 }

// planCriterion compares a ledger with the plan, which follows from the profile: each planned
// request is in the ledger once, with its body, kind and place, and nothing else is. An honest
// client cannot miss it, for any answers of the target, so any difference is INVALID.
func (c *conclusion) planCriterion(dir, name string, p Profile, limits Phase) (Criterion, error) {
	criterion := Criterion{ID: name + "/plan", Relation: "=", Unit: "requests",
		Text:     "requests of the ledger that differ from the plan, or are missing",
		Evidence: name + "/" + ledgerFile, contradicts: true}
	var run phaseRun
	if err := readJSON(filepath.Join(dir, name, phaseFile), &run); err != nil {
		return criterion, err
	}
	if c.start.Input != "" {
		criterion.decide()
		criterion.Note = "not compared: recorded traffic with the SHA-256 " + c.start.Input
		return criterion, nil
	}
	var wrong violations
	if want := prefixOf(c.start.RunID, name); run.Prefix != want {
		wrong.add("the prefix of the message ids is %q, it should be %q", run.Prefix, want)
	}
	plan := p.planOf(prefixOf(c.start.RunID, name), limits)
	if n := plan.requests(); run.Planned != n {
		wrong.add("%s says that %d requests were planned, and the plan has %d", phaseFile, run.Planned, n)
	}
	ledger, err := os.Stat(filepath.Join(dir, name, ledgerFile))
	if err != nil {
		return criterion, err
	}
	sent := make([]plannedDigest, max(0, min(int64(plan.requests()), mostLines(ledger.Size()))))
	for a, err := range readLedger(filepath.Join(dir, name, ledgerFile)) {
		switch {
		case err != nil:
			return criterion, err
		case a.Line > len(sent) || a.Attempt != 1:
			wrong.add("line %d, attempt %d is not in the plan", a.Line, a.Attempt)
		case sent[a.Line-1] != plannedDigest{}:
			wrong.add("line %d is in the ledger twice", a.Line)
		default:
			sent[a.Line-1] = digestOf(&a)
		}
	}
	line := 0
	for m, err := range plan.messages() {
		if line == len(sent) {
			break
		}
		if err != nil {
			return criterion, err
		}
		planned, err := load.Planned(m)
		if err != nil {
			return criterion, err
		}
		switch {
		case sent[line] == digestOf(&planned):
		case sent[line] != plannedDigest{}:
			wrong.add("line %d (%s) is not what the plan has there", line+1, planned.MessageID)
		case run.Stopped == "":
			wrong.add("line %d (%s) is missing", line+1, planned.MessageID)
		}
		line++
	}
	if line < plan.requests() && run.Stopped == "" {
		wrong.add("the lines from %d to %d are missing", line+1, plan.requests())
		wrong.Count += plan.requests() - line - 1
	}
	criterion.Value, criterion.Findings = float64(wrong.Count),
		wrong.First[:min(len(wrong.First), maxFindings)]
	criterion.decide()
	if criterion.Status != Pass {
		criterion.invalidate("the ledger differs from the plan: somebody changed it, or another version " +
			"of hookgate made it")
	}
	return criterion, nil
}

// errForged says that evidence contradicts itself, as no honest client can make it.
var errForged = errors.New("contradicts itself")

// contradiction returns an error that wraps errForged if the evidence contradicts itself.
func (v *Verdict) contradiction() error {
	for i := range v.Criteria {
		if c := &v.Criteria[i]; c.contradicts && len(c.Findings) > 0 {
			return fmt.Errorf("%s %w: %s: %s", c.Evidence, errForged, c.Note, c.Findings[0])
		}
	}
	return nil
}
