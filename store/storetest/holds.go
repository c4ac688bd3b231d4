package storetest

import (
	"testing"

	"github.com/hookgate/hookgate/store/sqlstore"
)

// HeldKeys checks the triggers that set webhook_holds.excepted. execute runs a script on the tables
// of a store that has no subscriptions.
func HeldKeys(t *testing.T, execute func(t *testing.T, script string), db sqlstore.DB) {
	const (
		hold      = "INSERT INTO webhook_holds (subscription, ordering_key, after_id) VALUES (1, 'k', 4)"
		exception = `INSERT INTO webhook_exceptions VALUES
			(1, 5, 0, 'k', 'waiting', 1, 1, 1, 1, '', 500, 1, 0)`
		second = `INSERT INTO webhook_exceptions VALUES
			(1, 6, 0, 'k', 'parked', 1, 1, 1, 1, '', 500, 1, 0)`
		others = `INSERT INTO webhook_exceptions VALUES (1, 7, 0, '', 'waiting', 1, 1, 1, 1, '', 0, 1, 0),
			(1, 8, 0, 'l', 'waiting', 1, 1, 1, 1, '', 0, 1, 0),
			(2, 5, 0, 'k', 'waiting', 1, 1, 1, 1, '', 0, 1, 0),
			(1, 9, 0, 'k', 'dead', 1, 1, 1, 1, '', 0, 1, 0)`
		die   = "UPDATE webhook_exceptions SET state = 'dead' WHERE event = 5 AND subscription = 1"
		retry = "UPDATE webhook_exceptions SET state = 'waiting' WHERE event = 5 AND subscription = 1"
		gone  = "DELETE FROM webhook_exceptions WHERE event = 5 AND subscription = 1"
	)
	for name, test := range map[string]struct {
		scripts []string
		want    bool
	}{
		"no exception":                   {[]string{hold}, false},
		"the exceptions of others":       {[]string{others, hold}, false},
		"the exceptions of others later": {[]string{hold, others}, false},
		"exception first":                {[]string{exception, hold}, true},
		"hold first":                     {[]string{hold, exception}, true},
		"dead":                           {[]string{exception, hold, die}, false},
		"retried":                        {[]string{exception, die, hold, retry}, true},
		"delivered":                      {[]string{hold, exception, gone}, false},
		"the second is left":             {[]string{hold, exception, second, gone}, true},
		"the second is left, first dead": {[]string{hold, second, exception, die}, true},
	} {
		for _, script := range append([]string{"DELETE FROM webhook_holds",
			"DELETE FROM webhook_exceptions"}, test.scripts...) {
			execute(t, script)
		}
		found := false
		if err := db.Query(t.Context(), sqlstore.Statement{
			SQL: "SELECT excepted FROM webhook_holds",
			Row: func(r sqlstore.Row) error {
				if found = true; r.Bool(0) != test.want {
					t.Errorf("%s: excepted is %t, want %t", name, r.Bool(0), test.want)
				}
				return nil
			},
		}); err != nil || !found {
			t.Errorf("%s: found a hold: %t (error %v)", name, found, err)
		}
	}
}
