package adminapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/hookgate/hookgate"
)

// selection says which dead letters a call is about.
type selection struct {
	// filter has the state and the place to go on behind too; its limit is that of this call.
	filter hookgate.DeadLetterFilter
	// loseEvents says that the caller knows that the events of open ones are lost by a purge.
	loseEvents bool
}

// describe says what is selected, for the admin trail and for people.
func (s *selection) describe() string {
	if s.loseEvents {
		return describe(s.filter) + " losing events"
	}
	return describe(s.filter)
}

// permitted reports whether the action may be done to what is selected. An approval holds for all
// calls that it takes, and for those dead letters alone that there were when it was given: the
// filter is bounded so. If it returns false the call is answered.
func (s *selection) permitted(c *call, action string) bool {
	whole := *s
	whole.filter.After = ""
	decidedAt, ok := c.permitted(action, whole.describe(), s.filter.After != "")
	if !decidedAt.IsZero() && (s.filter.To.IsZero() || s.filter.To.After(decidedAt)) {
		s.filter.To = decidedAt
	}
	return ok
}

// dlqBatch is the number of dead letters that one call retries or purges at most, and what it does
// if it is not told.
const dlqBatch = 500

// readObject reads a body that must be a JSON object whose members are all among names. An error is
// for the caller.
func readObject(c *call, names ...string) (map[string]json.RawMessage, error) {
	body, err := c.body()
	if err != nil || len(body) == 0 {
		return nil, err
	}
	// a map, because the names of a struct's members would match in any case
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, errors.New("body is not a JSON object")
	}
	for name := range members {
		if len(names) == 0 {
			return nil, fmt.Errorf("body has the unknown member %q; this call takes none", printable(name))
		}
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("body has the unknown member %q; known are %s", printable(name),
				strings.Join(names, ", "))
		}
	}
	return members, nil
}

// readMember reads a member if it is there.
func readMember(members map[string]json.RawMessage, name, want string, to any) error {
	text, ok := members[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(text, to); err != nil || string(text) == "null" {
		return fmt.Errorf("member %s is not %s", name, want)
	}
	return nil
}

// readSelection reads the body of a call on many dead letters. An error is for the caller.
func readSelection(c *call, more ...string) (s selection, err error) {
	members, err := readObject(c, append([]string{"all", "filter", "after", "limit"}, more...)...)
	if err != nil {
		return s, err
	}
	var all bool
	var filter map[string]string
	limit := dlqBatch
	if err := errors.Join(
		readMember(members, "all", "true", &all),
		readMember(members, "filter", `an object of strings like {"type":"order.paid"}`, &filter),
		readMember(members, "after", "the id of a dead letter", &s.filter.After),
		readMember(members, "limit", "a number", &limit),
		readMember(members, "loseEvents", "true or false", &s.loseEvents),
	); err != nil {
		return s, err
	}
	if all == (len(filter) > 0) {
		return s, errors.New(`body has neither {"all":true} nor a {"filter":{…}} that says which dead letters, or it has both`)
	}
	if limit < 1 || limit > dlqBatch {
		return s, fmt.Errorf("limit is not a number from 1 to %d; go on with what the answer says as next", dlqBatch)
	}
	s.filter.Limit = limit
	for name, value := range filter {
		if value == "" {
			return s, badParameter{name, "is empty"}
		}
		if err := setDeadLetterFilter(&s.filter, name, value); err != nil {
			return s, err
		}
	}
	return s, nil
}

// selected reads the dead letters of a selection that take wants, in order, and where to go on;
// next is empty if there are no more. If ok is false the call is answered.
func (s *API) selected(c *call, f hookgate.DeadLetterFilter,
	take func(*hookgate.StoredDeadLetter) bool) (letters []hookgate.StoredDeadLetter, next string,
	ok bool) {
	limit := f.Limit
	f.Limit = 0
	last := f.After
	for d, err := range s.letters.DeadLetters(c.request.Context(), f) {
		switch {
		case errors.Is(err, hookgate.ErrNotFound):
			c.fail(http.StatusBadRequest, "member after is not the id of a dead letter")
			return nil, "", false
		case err != nil:
			c.broken("reading dead letters", err)
			return nil, "", false
		}
		if take(&d) {
			if len(letters) == limit {
				return letters, last, true
			}
			letters = append(letters, d)
		}
		last = d.ID
	}
	return letters, "", true
}
