package attention

import (
	"context"
	"fmt"
	"time"
)

// replacedFor is how long a person is reminded that the store was replaced.
const replacedFor = 24 * time.Hour

// StoreReplaced returns a Source that has one item for a day after replaced, the time at which the
// gate found another store, or an older copy, in the place of its own; zero if it never did.
func StoreReplaced(replaced func() time.Time) Source {
	return func(context.Context) []Item {
		at := replaced()
		if at.IsZero() || time.Since(at) > replacedFor {
			return nil
		}
		return []Item{{
			Name: "store_replaced", Count: 1,
			Text: fmt.Sprintf("The store was restored, replaced or failed over, which was found at %s: it may lack events that were acknowledged before; have their senders repeat them",
				at.UTC().Format(time.RFC3339)),
		}}
	}
}
