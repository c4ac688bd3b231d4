package hookgate

// UnfitError says that a backend is there and must not be used as it is, or cannot be as it is
// configured: it stays so until a person has changed it or the settings. To open it again is
// harmless. Any other error of opening a backend means that it is away or not ready, which passes.
type UnfitError struct {
	// Reason says what is wrong in words that anyone may read: it names no address and no value of a
	// setting.
	Reason string
	// Err has the whole of it.
	Err error
}

// Error implements error.
func (e *UnfitError) Error() string { return e.Err.Error() }

// Unwrap returns the whole error.
func (e *UnfitError) Unwrap() error { return e.Err }
