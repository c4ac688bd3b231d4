package control

import "fmt"

// Mode says whether the gate accepts webhooks, and whether it stores them.
type Mode string

const (
	// ModeNormal accepts webhooks and stores them.
	ModeNormal Mode = "normal"
	// ModeReadOnly rejects webhooks with 503, and stores those that are queued.
	ModeReadOnly Mode = "read_only"
	// ModeBuffer accepts webhooks into the queue or spool, and writes none to the store.
	ModeBuffer Mode = "buffer"
)

// Modes lists all modes.
var Modes = []Mode{ModeNormal, ModeReadOnly, ModeBuffer}

// ParseMode parses a mode as the API writes it.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case ModeNormal, ModeReadOnly, ModeBuffer:
		return m, nil
	}
	return "", fmt.Errorf("unknown mode %q: use %s, %s or %s", s, ModeNormal, ModeReadOnly, ModeBuffer)
}
