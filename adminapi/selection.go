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

// selection says which dead letters a call is for.
type selection struct {
	// filter includes the state, the place to continue after, and the limit of this call.
	filter hookgate.DeadLetterFilter
	// loseEvents is true if the caller accepts that a purge of open ones loses their events.
	loseEvents bool
}

// describe describes the selection, for the admin trail and for people.
func (s *selection) describe() string {
	if s.loseEvents {
		return describe(s.filter) + " losing events"
	}
	return describe(s.filter)
}

// permitted reports whether the action may be done to what is selected. An approval holds for all
// calls that it takes, and for those dead letters alone that there were when it was given: the
// filter is bounded so. If it returns false the call is answered.
func (s *selection) mayContinue(c *call, action string) bool {
	whole := *s
	whole.filter.After = ""
	decidedAt, ok := c.mayContinue(action, whole.describe(), s.filter.After != "")
	if !decidedAt.IsZero() && (s.filter.To.IsZero() || s.filter.To.After(decidedAt)) {
		s.filter.To = decidedAt
	}
	return ok
}

// dlqBatch is the number of dead letters that one call retries or purges at most, and by default.
const dlqBatch = 500

// readObject reads a body that must be a JSON object with no other members than names. An error is
// for the caller.
func readObject(c *call, names ...string) (map[string]json.RawMessage, error) {
	return readLargeObject(c, maxAdminBody, names...)
}

// readLargeObject is readObject for bodies of at most so many bytes.
func readLargeObject(c *call, most int64, names ...string) (map[string]json.RawMessage, error) {
	body, err := c.bodyUpTo(most)
	if err != nil {
		return nil, err
	}
	return parseObject(body, names...)
}

// parseObject is readObject for a body that was read. An empty one has no members.
func parseObject(body []byte, names ...string) (map[string]json.RawMessage, error) {
	if len(body) == 0 {
		return nil, nil
	}
	// A struct would match names in any case.
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, errors.New("body must be a JSON object")
	}
	for name := range members {
		if len(names) == 0 {
			return nil, fmt.Errorf("body has the unknown member %q; this call has no members",
				printable(name))
		}
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("body has the unknown member %q; known are %s", printable(name),
				strings.Join(names, ", "))
		}
	}
	return members, nil
}

// readMember reads a member if it is present.
func readMember(members map[string]json.RawMessage, name, want string, to any) error {
	text, ok := members[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(text, to); err != nil || string(text) == "null" {
		return fmt.Errorf("member %s must be %s", name, want)
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
		return s, errors.New(`body must have either {"all":true} or a {"filter":{…}} that selects` +
			` dead letters`)
	}
	if limit < 1 || limit > dlqBatch {
		return s, fmt.Errorf("limit must be from 1 to %d; continue with after set to the next of the"+
			" answer", dlqBatch)
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

// selected reads the dead letters of a selection that take accepts, in order, and where to
// continue; next is empty if there are no more. If ok is false, the call is answered.
func (s *API) selected(c *call, f hookgate.DeadLetterFilter,
	take func(*hookgate.StoredDeadLetter) bool) (letters []hookgate.StoredDeadLetter, next string,
	ok bool) {
	limit := f.Limit
	f.Limit = 0
	last := f.After
	for d, err := range s.letters.DeadLetters(c.request.Context(), f) {
		switch {
		case errors.Is(err, hookgate.ErrNotFound):
			c.fail(http.StatusBadRequest, "member after must be the id of a dead letter")
			return nil, "", false
		case err != nil:
			c.unavailable("reading dead letters", err)
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
