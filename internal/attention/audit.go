package attention

import "context"

// FailedAudit returns a Source with one item while failed returns true, because the last
// verification of the audit chain found a break.
func FailedAudit(failed func() bool) Source {
	return func(context.Context) []Item {
		if !failed() {
			return nil
		}
		return []Item{{
			Name: "audit", Count: 1, Bad: true,
			Text: "The audit chain is broken: stored data was changed outside the gate; run hookgate" +
				" audit verify to find the place",
		}}
	}
}
