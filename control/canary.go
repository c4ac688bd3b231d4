package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrCanaryChanged is returned when a canary cannot be kept because one that is as new, or newer,
// has been kept meanwhile.
var ErrCanaryChanged = errors.New("the canary has been changed meanwhile")

// Canary is what share of the webhooks the gate takes itself, and since when and why; the others go
// on to the service whose place it is to take. It is one for all processes of a gate, and survives
// a restart.
type Canary struct {
	// Version is counted up by each change. What is newer counts, wherever it comes from. 0: nobody
	// has ever set anything.
	Version int64 `json:"-"`
	// Percent is the share of the ordering keys that the gate takes, from 0 to 100.
	Percent int `json:"percent"`
	// Step is the step of the plan that is under way, counted from 1; 0 if no plan is.
	Step int `json:"step,omitempty"`
	// At is when Percent was set, By who did, and Reason why.
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	// Evidence is the id of the evidence on which the canary left 0 percent, if there was any.
	Evidence string `json:"evidence,omitempty"`
}

// String returns the form in which a canary is kept: its version, a space and JSON. ParseCanary
// reads it.
func (c Canary) String() string {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // only a time beyond the year 9999 has no JSON form
	}
	return strconv.FormatInt(c.Version, 10) + " " + string(text)
}

// ParseCanary reads what String returns. An empty text is the canary that nobody has set.
func ParseCanary(text string) (c Canary, err error) {
	if text == "" {
		return c, nil
	}
	version, rest, _ := strings.Cut(text, " ")
	if err = json.Unmarshal([]byte(rest), &c); err == nil {
		c.Version, err = strconv.ParseInt(version, 10, 64)
	}
	if err == nil && (c.Version < 1 || c.Percent < 0 || c.Percent > 100 || c.Step < 0) {
		err = errors.New("a number in it is out of range")
	}
	if err != nil {
		return Canary{}, fmt.Errorf("canary %.100q cannot be read: %w", text, err)
	}
	return c, nil
}
