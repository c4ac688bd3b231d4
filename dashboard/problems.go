package dashboard

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/guard"
)

// Problem is something that a person should know of.
type Problem struct {
	// Level is bad if the gate rejects webhooks, something is away or a release trigger has fired;
	// otherwise warn.
	Level string `json:"level"`
	Text  string `json:"text"`
	// Link is a path of this gate with more about it; may be empty.
	Link string `json:"link,omitempty"`
	// Since is when it began, in RFC 3339; empty if that is not known.
	Since string `json:"since,omitempty"`
}

const (
	levelBad  = "bad"
	levelWarn = "warn"
	// near is the nearness to its limit from which a signal is a problem.
	near = 0.8
)

// signalNames has the signals of the guard in words, with their units.
var signalNames = map[string]struct{ name, unit string }{
	guard.SignalDepth: {"queue depth", "%"},
	guard.SignalLag:   {"store lag", " s"},
	guard.SignalP95:   {"P95 of ingest", " ms"},
}

func signalName(name string) string {
	if known, ok := signalNames[name]; ok {
		return known.name
	}
	return name
}

func signalUnit(name string) string { return signalNames[name].unit }

// Problems returns the problems, the worst first.
func (s *State) Problems() []Problem {
	all := []Problem{}
	link, key := "", ""
	add := func(level, format string, args ...any) {
		p := Problem{Level: level, Text: fmt.Sprintf(format, args...), Link: link}
		if at := s.Since[key]; !at.IsZero() {
			p.Since = at.UTC().Format(time.RFC3339)
		}
		all = append(all, p)
	}
	key = keyMode + string(s.Mode)
	if s.Mode == control.ModeReadOnly {
		add(levelBad, "Maintenance: the gate rejects webhooks with 503")
	}
	if s.Mode == control.ModeBuffer {
		add(levelWarn, "Buffering: webhooks are queued; the gate stores nothing until the mode is"+
			" normal again")
	}
	link, key = "/ui/guard", keyBreaker+string(s.Guard.Breaker)
	switch s.Guard.Breaker {
	case guard.Open:
		add(levelBad, "The breaker is open because of %s: the gate rejects webhooks with 503",
			signalName(s.Guard.Reason))
	case guard.Recovering:
		add(levelWarn, "The breaker is recovering: %d%% of the webhooks are taken",
			s.Guard.AdmittedPercent)
	}
	link, key = "", ""
	switch {
	case s.QueueErr == errNotAsked:
	case s.QueueErr != nil:
		key = keyQueue
		add(levelBad, "The queue does not answer: %v", s.QueueErr)
	case s.Queue.Err != nil:
		add(levelBad, "The queue takes no webhooks: %v", s.Queue.Err)
	case s.Queue.HighWater > 0 && s.Queue.Depth >= s.Queue.HighWater:
		add(levelBad, "The queue is full: the gate rejects webhooks with 503")
	}
	key = keyDegraded
	if errors.As(s.Queue.Degraded, new(*hookgate.LeftoverError)) {
		add(levelWarn, "%v", s.Queue.Degraded)
	} else if s.Queue.Degraded != nil {
		add(levelWarn, "Webhooks are spooled, so a 202 is worth this machine's disk: %v",
			s.Queue.Degraded)
	}
	key = ""
	if s.Store.Err != nil {
		add(levelBad, "The store is away: %v", s.Store.Err)
	}
	link = "/ui/guard#release"
	for _, name := range s.Fired {
		key = keyFired + name
		add(levelBad, "The release trigger %s has fired: no-go for this release", strings.ReplaceAll(name,
			"_", " "))
	}
	link, key = "/ui/guard", ""
	for _, signal := range s.Guard.Signals {
		if signal.Known && signal.Limit > 0 && (signal.Raised || signal.Nearness >= near) &&
			s.Guard.Breaker == guard.Closed {
			add(levelWarn, "The %s is at %.0f%% of its limit", signalName(signal.Name), 100*signal.Nearness)
		}
	}
	for _, i := range s.Store.Attention {
		p := Problem{Level: levelWarn, Text: i.Text, Link: i.Link}
		if i.Bad {
			p.Level = levelBad
		}
		if i.Since != nil {
			p.Since = i.Since.UTC().Format(time.RFC3339)
		}
		all = append(all, p)
	}
	slices.SortStableFunc(all, func(a, b Problem) int {
		return compareBool(a.Level != levelBad, b.Level != levelBad)
	})
	return all
}
