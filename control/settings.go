package control

import "context"

// Settings are the mode and the canary. All processes of a gate have the same ones, and they
// survive a restart. All methods may be called concurrently.
type Settings interface {
	// Mode returns the mode that was set last, in any process. It sees the change of another process
	// within a second. While the settings cannot be read, it returns the last known mode. It never
	// waits.
	Mode() Mode
	// SetMode stores the mode and then lets it take effect. After an error the mode may have been
	// stored; the same call again is harmless.
	SetMode(ctx context.Context, m Mode) error
	// Canary returns the canary that was set last, like Mode. The zero value: none was ever set.
	Canary() Canary
	// SetCanary stores a canary if its version is higher than that of the stored one.
	// ErrCanaryChanged: it is not, and Canary returns the stored one. After any other error the
	// outcome is unknown, and the same call again is harmless.
	SetCanary(ctx context.Context, c Canary) error
	// Close stops reading the changes of other processes. Later changes fail; Mode and Canary go on
	// returning the last values. The caller closes the settings before the store or queue that holds
	// them.
	Close() error
}
