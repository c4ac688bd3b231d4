package certify

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// scrapeAgain writes metrics-settled.txt: the metrics at the second reading, before anything else
// is sent.
func (c *certification) scrapeAgain(ctx context.Context) {
	o := &observer{target: c.target, dir: c.Dir}
	if err := o.scrape(ctx, c.Profile.Metrics, settledFile); err != nil {
		c.say("metrics at the end: %v", err)
	}
}

// settledCriterion compares the counters between two phases, and between the last phase and the
// second reading. Nothing is sent in these times. A request without a 202 may be counted later.
func (c *conclusion) settledCriterion(dir string, p Profile) (Criterion, error) {
	criterion := Criterion{ID: "settled", Relation: "=", Unit: "counters", Evidence: settledFile,
		Text: "counters of the target that moved while nothing was sent"}
	if criterion.decide(); !p.Exclusive {
		criterion.Note = "not judged, because others send too"
		return criterion, nil
	}
	var unread string
	for i, name := range c.start.Phases {
		var run phaseRun
		if err := readJSON(filepath.Join(dir, name, phaseFile), &run); err != nil {
			return criterion, err
		}
		if !run.Drained {
			criterion.Note = "not judged after " + name + ", because the queue was not empty"
			continue
		}
		until := settledFile
		if i+1 < len(c.start.Phases) {
			until = filepath.Join(c.start.Phases[i+1], beforeFile)
		}
		before, err := readScrape(filepath.Join(dir, name, afterFile))
		if err == nil {
			var after *scrape
			if after, err = readScrape(filepath.Join(dir, until)); err == nil {
				s := c.phases[i].summary
				criterion.moved(name, p.Source, before, after, float64(s.Errors+s.Unknown))
				continue
			}
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return criterion, err
		}
		unread = "the metrics after " + name + " could not be read"
	}
	if criterion.decide(); unread != "" {
		criterion.invalidate("%s", unread)
	}
	return criterion, nil
}

// moved counts the counters that moved since the end of a phase, by more than may be counted later.
func (c *Criterion) moved(phase, source string, before, after *scrape, later float64) {
	all := maps.Clone(before.counters)
	maps.Copy(all, after.counters)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		judged := has(key, ingestTotal, []string{"source=" + source})
		for _, status := range []string{"accepted", "duplicate", "persisted", "dead_lettered"} {
			judged = judged || has(key, eventsTotal, []string{"status=" + status})
		}
		if by := after.counters[key] - before.counters[key]; judged && (by < 0 || by > later) {
			c.Value++
			c.find("%s was %.0f after %s, and %.0f later", strings.ReplaceAll(key, sep, " "),
				before.counters[key], phase, after.counters[key])
		}
	}
}

func readScrape(file string) (*scrape, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parseScrape(text)
}
