package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrCanaryChanged is returned when a canary cannot be stored because the stored one has the same
// or a higher version.
var ErrCanaryChanged = errors.New("the canary was changed meanwhile")

// Canary says which webhooks the gate handles; it forwards the others to the upstream. All
// processes of a gate have the same canary, and it survives a restart.
type Canary struct {
	// Version grows by 1 with each change. The highest version applies. 0: no canary was ever set.
	Version int64 `json:"-"`
	// Percent is the percentage of the ordering keys whose webhooks the gate handles, from 0 to 100.
	Percent int `json:"percent"`
	// Step is the step of the running plan, counted from 1; 0 if no plan is running.
	Step int `json:"step,omitempty"`
	// At is when Percent was set, By who set it, and Reason why.
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	// Evidence is the id of the evidence on which the canary left 0 percent, if there was any.
	Evidence string `json:"evidence,omitempty"`
}

// String returns the form in which a canary is stored: its version, a space and JSON. ParseCanary
// parses it.
func (c Canary) String() string {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // only a time beyond the year 9999 has no JSON form
	}
	return strconv.FormatInt(c.Version, 10) + " " + string(text)
}

// ParseCanary parses the result of String. An empty text is the zero Canary.
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
