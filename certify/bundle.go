package certify

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"

	"github.com/hookgate/hookgate/evidence"
	"github.com/hookgate/hookgate/internal/secret"
)

// BundleError says that the evidence in a folder is not what was signed, or that its verdict does
// not follow from it.
type BundleError struct {
	Dir string
	Err error
}

// Error implements error.
func (e *BundleError) Error() string { return fmt.Sprintf("evidence in %s: %v", e.Dir, e.Err) }

// Unwrap returns the reason.
func (e *BundleError) Unwrap() error { return e.Err }

// VerifyBundle checks that the evidence in a folder is what was signed, by one of the keys if there
// are any, and judges it again. It returns who signed it and the verdict. A *BundleError says that
// it does not hold; any other error means that it could not be checked.
func VerifyBundle(dir string, keys []ed25519.PublicKey) (by ed25519.PublicKey, v Verdict,
	err error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, v, fmt.Errorf("there is no folder %s", dir)
	}
	by, err = evidence.Verify(dir, keys...)
	if errors.As(err, new(*evidence.ChangedError)) {
		return nil, v, &BundleError{dir, err}
	} else if err != nil {
		return nil, v, err
	}
	v, err = Recheck(dir)
	if errors.Is(err, ErrNotDerived) {
		err = &BundleError{dir, fmt.Errorf("%w (it was signed so)", err)}
	} else if contradiction := v.contradiction(); err == nil && contradiction != nil {
		err = &BundleError{dir, contradiction}
	}
	return by, v, err
}

// ReadKey reads the key that signs evidence.
func ReadKey(path string) (ed25519.PrivateKey, error) {
	text, err := secret.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := evidence.ParsePrivateKey([]byte(text + "\n"))
	if err != nil {
		return nil, fmt.Errorf("key %s %w; hookgate evidence keygen makes one", path, err)
	}
	return key, nil
}
