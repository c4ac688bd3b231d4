package attention

import (
	"context"
	"fmt"
	"time"
)

// replacedFor is how long the list shows that the store was replaced.
const replacedFor = 24 * time.Hour

// StoreReplaced returns a Source with one item for a day after replaced: the time at which the gate
// found another store, or an older copy of its own. A zero time means never.
func StoreReplaced(replaced func() time.Time) Source {
	return func(context.Context) []Item {
		at := replaced()
		if at.IsZero() || time.Since(at) > replacedFor {
			return nil
		}
		return []Item{{
			Name: "store_replaced", Count: 1,
			Text: fmt.Sprintf("At %s the gate found that the store was restored, replaced or failed over:"+
				" it may lack"+
				" acknowledged events; ask their senders to send them again",
				at.UTC().Format(time.RFC3339)),
		}}
	}
}
