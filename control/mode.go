package control

import "fmt"

// Mode says whether the gate takes deliveries, and whether workers store them.
type Mode string

const (
	// ModeNormal takes deliveries.
	ModeNormal Mode = "normal"
	// ModeReadOnly refuses deliveries with 503 while workers go on storing what is queued.
	ModeReadOnly Mode = "read_only"
	// ModeBuffer takes deliveries into the queue while workers leave the store alone.
	ModeBuffer Mode = "buffer"
)

// Modes are all modes.
var Modes = []Mode{ModeNormal, ModeReadOnly, ModeBuffer}

// ParseMode reads a mode as it is written in the API.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case ModeNormal, ModeReadOnly, ModeBuffer:
		return m, nil
	}
	return "", fmt.Errorf("mode %q is none of %s, %s and %s", s, ModeNormal, ModeReadOnly, ModeBuffer)
}
