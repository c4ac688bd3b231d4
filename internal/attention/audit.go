package attention

import "context"

// FailedAudit returns a Source that has one item while failed reports true: the last verification
// of the audit chain found a break.
func FailedAudit(failed func() bool) Source {
	return func(context.Context) []Item {
		if !failed() {
			return nil
		}
		return []Item{{
			Name: "audit", Count: 1,
			Text: "The audit chain is broken: what is stored is not what the gate has stored; hookgate audit verify names the place",
		}}
	}
}
