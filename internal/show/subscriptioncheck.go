package show

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// SubscriptionCheck is the result of hookgate subscriptions check for one subscription.
type SubscriptionCheck struct {
	Name string `json:"subscription"`
	// Host is the host and port of its URL.
	Host string `json:"host,omitempty"`
	// OK reports whether every step succeeded.
	OK    bool               `json:"ok"`
	Steps []SubscriptionStep `json:"steps"`
}

// SubscriptionStep is a step of a SubscriptionCheck.
type SubscriptionStep struct {
	Name   string `json:"step"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
	Error  string `json:"error,omitempty"`
	// Millis is the duration in milliseconds.
	Millis float64 `json:"ms"`
}

// Add adds a step. It failed if err is not nil.
func (c *SubscriptionCheck) Add(name, detail string, err error, took time.Duration) {
	s := SubscriptionStep{Name: name, OK: err == nil, Millis: float64(took.Microseconds()) / 1000}
	if err != nil {
		s.Error = err.Error()
	} else {
		s.Detail = detail
	}
	c.OK = s.OK && (c.OK || len(c.Steps) == 0)
	c.Steps = append(c.Steps, s)
}

// CheckedSubscription prints the steps of a check.
func CheckedSubscription(out io.Writer, c SubscriptionCheck) error {
	title := c.Name
	if c.Host != "" {
		title += " (" + c.Host + ")"
	}
	fmt.Fprintln(out, title)
	for _, s := range c.Steps {
		result, text := "ok", s.Detail
		if !s.OK {
			result, text = "FAIL", s.Error
		}
		took := ""
		if s.Millis >= 0.1 {
			took = fmt.Sprintf(" (%.1f ms)", s.Millis)
		}
		text = strings.ReplaceAll(text, "\n", "\n        ")
		fmt.Fprintf(out, "  %-4s  %-10s  %s%s\n", result, s.Name, text, took)
	}
	_, err := fmt.Fprintln(out)
	return err
}
