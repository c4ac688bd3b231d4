package control

import "context"

// Settings keeps what holds for all processes of a gate and survives a restart. All methods may be
// called concurrently.
type Settings interface {
	// Mode returns the mode that was set last, in whichever process, as far as this one has seen:
	// within a second. While the settings cannot be read it is the last one known.
	Mode() Mode
	// SetMode keeps the mode and then lets it take effect. An error means that the mode may have
	// been kept; the same call again is harmless.
	SetMode(ctx context.Context, m Mode) error
	// Canary returns the canary that was kept last, as Mode does; the zero value: none ever was.
	Canary() Canary
	// SetCanary keeps a canary of a higher version than the one that is kept. ErrCanaryChanged: it
	// has not, and Canary returns what is kept instead. After any other error the outcome is
	// unknown, and the same call again is harmless.
	SetCanary(ctx context.Context, c Canary) error
	// Close stops reading the changes of other processes. Later changes fail; Mode and Canary go on
	// returning the last values. The caller closes the settings before the store or queue that holds
	// them.
	Close() error
}
