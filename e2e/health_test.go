package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestHealthCommand checks that the command finds the gate of its configuration, also with a second
// listener and with the gate's own certificate. A gate at another address must have a trusted
// certificate. Each failure has its exit code.
func TestHealthCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := certificateFiles{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	writeCertificate(t, files, 1)
	secure := []string{"HOOKGATE_TLS_CERT_FILE=" + files.CertFile, "HOOKGATE_TLS_KEY_FILE=" +
		files.KeyFile}
	apart := []string{"HOOKGATE_ADMIN_LISTEN=127.0.0.1:0"}
	for _, env := range [][]string{nil, apart, secure} {
		g := startGate(t, startOptions{env: env})
		address := strings.TrimPrefix(g.url, "http://")
		own := append(env, "HOOKGATE_LISTEN="+address)
		check := func(env []string, code int, says string, args ...string) {
			t.Helper()
			got, out, errs := runBinary(t, env, append([]string{"health"}, args...)...)
			if got != code || !strings.Contains(out+errs, says) {
				t.Errorf("%v %v: %d, want %d: %s%s", env, args, got, code, out, errs)
			}
		}
		check(own, 0, "ok")
		check(own, 0, "ready", "--ready")
		check(append(env, "HOOKGATE_LISTEN=:"+address[strings.LastIndex(address, ":")+1:]), 0, "ok")
		if len(env) == len(secure) {
			check(nil, 1, "certificate", "--target", "https://"+address)
		} else {
			check(nil, 0, "ok", "--target", g.url+"/")
			check(nil, 1, "no such path", "--target", g.url+"/nothing?")
		}
		check(append(own, "HOOKGATE_NONSENSE=1"), 2, "HOOKGATE_NONSENSE")
		g.stop()
		check(own, 1, "does not answer")
	}
}
