package certify

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/evidence"
)

// SubmitPassed checks that the evidence in a folder holds, that it says PASS, and that it is of the
// version that a gate runs. It then submits the evidence to that gate, unless the gate has it, and
// returns its id. The error is a *BundleError if the evidence is not good enough, and an
// *evidence.RejectedError if the gate rejects it.
func SubmitPassed(ctx context.Context, client *api.Client, dir string,
	keys []ed25519.PublicKey) (id string, err error) {
	_, v, err := VerifyBundle(dir, keys)
	if err != nil {
		return "", err
	}
	if v.Status != Pass {
		return "", &BundleError{dir, fmt.Errorf("the verdict is %s, not %s", v.Status, Pass)}
	}
	health, err := client.Health(ctx)
	if err != nil {
		return "", err
	}
	if health.Version != v.Version {
		return "", &BundleError{dir, fmt.Errorf("it is of version %q, and the gate runs %q", v.Version,
			health.Version)}
	}
	manifest, err := os.ReadFile(filepath.Join(dir, evidence.ManifestFile))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(manifest)
	_, err = evidence.Submit(ctx, dir, evidence.Upload{
		URL: strings.TrimSuffix(client.URL, "/") + "/api/intake", Token: client.Token, HTTP: client.HTTP,
		Application: v.Application, Gate: v.Target,
	})
	var rejected *evidence.RejectedError
	if errors.As(err, &rejected) && rejected.Status == http.StatusConflict {
		err = nil // the gate has it
	}
	return hex.EncodeToString(sum[:]), err
}
