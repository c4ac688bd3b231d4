package dashboard

import (
	"net/http"
	"slices"

	"github.com/hookgate/hookgate/api"
)

// receipt is a bundle of evidence on a page.
type receipt struct{ api.Receipt }

// Short is as much of the id as tells it from others.
func (r receipt) Short() string { return r.ID[:min(12, len(r.ID))] }

// ShortKey is the part of the key's fingerprint that people compare.
func (r receipt) ShortKey() string { return r.Key[:min(20, len(r.Key))] }

// Level is the colour of the verdict.
func (r receipt) Level() string {
	switch r.Verdict {
	case "PASS":
		return "good"
	case "FAIL":
		return "bad"
	}
	return "warn"
}

// evidence shows the stored bundles, the latest first.
func (d *Dashboard) evidence(r *http.Request, v *Visitor) (any, error) {
	var all struct{ Evidence []receipt }
	if err := v.Get(r.Context(), "/api/intake", &all); err != nil {
		return nil, err
	}
	slices.Reverse(all.Evidence)
	return all.Evidence, nil
}
