package dashboard

import "net/http"

// overviewData is the data of the overview before its script takes over.
type overviewData struct {
	State
	wire wire
	// Empty is true if nothing was ever stored. The page then shows how to send a first webhook.
	Empty bool
	// Release has the release triggers.
	Release releaseAnswer
	Canary  canaryAnswer
	// Waiting is how many approvals are pending; 0 for viewers, who cannot decide.
	Waiting int
	First   *sending // how; nil if this process takes none
}

// overview shows the gate as it is now.
func (d *Dashboard) overview(r *http.Request, v *Visitor) (any, error) {
	s := d.config.Live.State(r.Context())
	data := overviewData{State: s, wire: s.wire()}
	if data.Empty = s.Store.Err == nil && s.Store.Counts.Events == 0 && s.Depth <= 0; data.Empty {
		all, err := readSources(r, v)
		if err != nil {
			return nil, err
		}
		if len(all.Sources) > 0 {
			first := d.sendingTo(r, &all.Sources[0])
			data.First = &first
		}
	}
	if err := v.Get(r.Context(), "/admin/release", &data.Release); err != nil {
		return nil, err
	}
	if err := v.Get(r.Context(), "/admin/canary", &data.Canary); err != nil {
		return nil, err
	}
	if v.Operator() && s.Store.Err == nil { // else it is not waited for
		var page struct{ Approvals []approval }
		if err := v.Get(r.Context(), "/admin/approvals?state=pending", &page); !isTold(err) {
			return nil, err
		}
		data.Waiting = len(page.Approvals)
	}
	return data, nil
}

// Wire is the state in the form that the script gets.
func (o overviewData) Wire() wire { return o.wire }

// Verdict sums up the state of the gate.
func (o overviewData) Verdict() string {
	switch {
	case len(o.wire.Problems) == 0:
		return "All well"
	case o.Level() == levelBad:
		return "Something is wrong"
	}
	return "Worth a look"
}

// Level is the colour of the verdict.
func (o overviewData) Level() string {
	level := ""
	for _, p := range o.wire.Problems {
		if level = p.Level; level == levelBad {
			break
		}
	}
	return level
}
