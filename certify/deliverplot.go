package certify

import (
	"html/template"
	"time"

	"github.com/hookgate/hookgate/certify/consumer"
	"github.com/hookgate/hookgate/internal/svgplot"
)

// DeliverySummary has the figures of the phase deliver.
type DeliverySummary struct {
	Subscription string `json:"subscription"`
	// By is push or pull.
	By string `json:"by"`
	// Events were acknowledged, and the consumer took Taken of them in Attempts. Of these it failed
	// Failed on purpose.
	Events   int `json:"events"`
	Taken    int `json:"taken"`
	Attempts int `json:"attempts"`
	Failed   int `json:"failedOnPurpose"`
	// P50 and P95 are the times from sending to the consumer before it failed.
	P50 float64 `json:"p50Ms"`
	P95 float64 `json:"p95Ms"`
	// Ready and Recover are the times after the 503s and after the outage until everything from
	// before was delivered.
	Ready   float64 `json:"readySeconds"`
	Recover float64 `json:"recoverSeconds"`
	// OthersCalm and OthersTrouble are the P95 of the other subscription before and during the
	// failures.
	OthersCalm    float64 `json:"othersCalmP95Ms"`
	OthersTrouble float64 `json:"othersTroubleP95Ms"`

	Stages []StageSummary `json:"stages"`
}

const byPush, byPull = "push", "pull"

// StageSummary has the figures of one stage of the consumer.
type StageSummary struct {
	Stage string `json:"stage"`
	// Begins is the time since the first stage began.
	Begins  float64 `json:"beginsSeconds"`
	Seconds float64 `json:"seconds"`
	// Attempts arrived in the stage, and the consumer did not take NotTaken of them.
	Attempts int `json:"attempts"`
	NotTaken int `json:"notTaken"`
	// Behind is the greatest number of events that the subscription said it had not delivered.
	Behind int64 `json:"behind"`
	// Answered is the P95 of the 202s, and Other that of the time from the 202 to the consumer of the
	// other subscription, of the events sent in the stage; 0 if there are none.
	Answered float64 `json:"answeredP95Ms"`
	Other    float64 `json:"otherP95Ms"`
}

// Consumer says what a consumer by push or pull does in the stage.
func (s *StageSummary) Consumer(by string) string {
	if s.Stage == stageUnready && by == byPull {
		return "answers everything with a nack"
	}
	return map[string]string{
		stageCalm:     "accepts everything",
		stageTrouble:  "fails a share of the attempts, and all of one key; restarts",
		stageUnready:  "answers 503 to everything",
		stageReady:    "accepts all but that key",
		stageOutage:   "is away",
		stageRecovery: "accepts all but that key",
		stageHealed:   "accepts everything",
	}[s.Stage]
}

// stages computes the figures of the stages.
func (d *deliveryCheck) stages() (all []StageSummary) {
	for i, s := range d.run.Stages[:max(0, len(d.run.Stages)-1)] {
		to := d.run.Stages[i+1].At
		in := func(at time.Time) bool { return !at.Before(s.At) && at.Before(to) }
		row := StageSummary{Stage: s.Name, Begins: round(s.At.Sub(d.run.Stages[0].At).Seconds()),
			Seconds: round(to.Sub(s.At).Seconds())}
		for _, a := range d.attempts {
			if in(a.At) {
				row.Attempts++
				if !a.Took() {
					row.NotTaken++
				}
			}
		}
		for _, sample := range d.samples {
			if sample.State != nil && in(sample.At) {
				row.Behind = max(row.Behind, sample.State.Backlog+sample.State.Leased+
					sample.State.Waiting)
			}
		}
		var answered, other []float64
		for i := range d.events {
			if t := &d.events[i]; in(t.acked) {
				answered = append(answered, millis(t.acked.Sub(time.UnixMicro(d.account.begun(t.event)))))
			}
		}
		for _, a := range d.others {
			if i, ok := d.byID[a.MessageID]; ok && a.Took() && in(d.events[i].acked) {
				other = append(other, millis(a.At.Sub(d.events[i].acked)))
			}
		}
		row.Answered, row.Other = quantile(answered, 0.95), quantile(other, 0.95)
		all = append(all, row)
	}
	return all
}

func (d *deliveryCheck) summary() *DeliverySummary {
	s := &DeliverySummary{Subscription: d.run.Subscription, By: byPull, Events: d.Events,
		Taken: d.Settled, Attempts: d.Attempts, Failed: d.Failed + d.Cut + d.Refused, P50: d.P50,
		P95: d.P95, Ready: d.ReadySeconds, Recover: d.RecoverSeconds, Stages: d.stages(),
		OthersCalm: d.Calm, OthersTrouble: d.Trouble}
	if d.run.Push {
		s.By = byPush
	}
	return s
}

// deliveryPlots are the plots of the phase deliver.
type deliveryPlots struct{ Attempts, Late, Behind template.HTML }

// plots draws the attempts, how late they came, and what the subscription said of itself.
func (d *deliveryCheck) plots() *deliveryPlots {
	from, to := d.run.stage(stageCalm), d.run.stage(stageEnd)
	if from.IsZero() || !to.After(from) {
		return nil
	}
	return &deliveryPlots{d.attemptsOverTime(from, to), d.lateOverTime(from, to),
		d.behindOverTime(from, to)}
}

// marks names the stages in a plot, each in a row of its own because some are short.
func (d *deliveryCheck) marks(p *svgplot.Plot, from, to time.Time) {
	row := 0
	for _, s := range d.run.Stages {
		if s.Name == stageCalm || s.Name == stageEnd || s.At.After(to) {
			continue
		}
		p.Mark(s.At.Sub(from).Seconds(), s.Name, row)
		row++
	}
}

// leastRate is where the axis of attempts begins; none is drawn there.
const leastRate = 0.5

func (d *deliveryCheck) attemptsOverTime(from, to time.Time) template.HTML {
	all, failed := newSeries(from, to), newSeries(from, to)
	for _, a := range d.attempts {
		all.add(a.At, 0, true)
		if !a.Took() {
			failed.add(a.At, 0, true)
		}
	}
	rate := func(s *series) (points []svgplot.Point, most float64) {
		for i := range s.spans {
			y := float64(s.spans[i].answers) / s.width.Seconds()
			points = append(points, svgplot.Point{X: (float64(i) + 0.5) * s.width.Seconds(), Y: y})
			most = max(most, y)
		}
		return points, most
	}
	every, most := rate(all)
	bad, _ := rate(failed)
	p := svgplot.New("Attempts over time", svgplot.Axis{High: to.Sub(from).Seconds()},
		svgplot.Axis{Low: leastRate, High: max(most, 10) * 5, Log: true}, "s",
		"per second, logarithmic")
	p.Line("a", every)
	p.Line("b", bad)
	d.marks(p, from, to)
	return p.SVG()
}

// lateOverTime shows the P95 of the time from the acknowledgement to the consumer, by the time of
// the acknowledgement.
func (d *deliveryCheck) lateOverTime(from, to time.Time) template.HTML {
	low, high := 1000.0, 1.0
	points := func(attempts []*consumer.Attempt) (points []svgplot.Point) {
		s, seen := newSeries(from, to), map[string]bool{}
		for _, a := range attempts {
			i, ok := d.byID[a.MessageID]
			if !ok || !a.Took() || seen[a.MessageID] || d.events[i].acked.IsZero() {
				continue
			}
			seen[a.MessageID] = true
			s.add(d.events[i].acked, a.At.Sub(d.events[i].acked), true)
		}
		for i := range s.spans {
			if s.spans[i].answers == 0 {
				continue
			}
			y := max(s.spans[i].quantile(0.95), 0.05)
			points = append(points, svgplot.Point{X: (float64(i) + 0.5) * s.width.Seconds(), Y: y})
			low, high = min(low, y), max(high, y)
		}
		return points
	}
	judged, other := points(d.attempts), points(d.others)
	p := svgplot.New("From the 202 to the consumer", svgplot.Axis{High: to.Sub(from).Seconds()},
		svgplot.Axis{Low: min(low, high/2) * 0.8, High: high * 3, Log: true}, "s",
		"P95 in ms, logarithmic")
	p.Line("b", other)
	p.Line("a", judged)
	d.marks(p, from, to)
	return p.SVG()
}

func (d *deliveryCheck) behindOverTime(from, to time.Time) template.HTML {
	var backlog, kept []svgplot.Point
	most := 1.0
	for _, s := range d.samples {
		if s.State == nil || s.At.After(to) {
			continue
		}
		x := max(s.At.Sub(from).Seconds(), 0)
		left, waits := float64(s.State.Backlog+s.State.Leased),
			float64(s.State.Waiting+s.State.Parked+s.State.Dead)
		backlog = append(backlog, svgplot.Point{X: x, Y: left})
		kept = append(kept, svgplot.Point{X: x, Y: waits})
		most = max(most, left, waits)
	}
	if len(backlog) == 0 {
		return ""
	}
	p := svgplot.New("Behind", svgplot.Axis{High: to.Sub(from).Seconds()},
		svgplot.Axis{High: svgplot.Nice(most * 1.25)}, "s", "events")
	p.Line("b", kept)
	p.Line("a", backlog)
	d.marks(p, from, to)
	return p.SVG()
}
