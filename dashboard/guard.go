package dashboard

import "net/http"

// guardView is the data of the page of the guard.
type guardView struct {
	wire    wire
	Release releaseAnswer
	Canary  canaryAnswer
}

// Wire is the state in the form that the script gets.
func (g guardView) Wire() wire { return g.wire }

// guard shows how close the gate is to its limits, who stores which partition, and the release
// triggers.
func (d *Dashboard) guard(r *http.Request, v *Visitor) (any, error) {
	s := d.config.Live.State(r.Context())
	view := guardView{wire: s.wire()}
	if err := v.Get(r.Context(), "/admin/release", &view.Release); err != nil {
		return nil, err
	}
	if err := v.Get(r.Context(), "/admin/canary", &view.Canary); err != nil {
		return nil, err
	}
	return view, nil
}
