package certify

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hookgate/hookgate/evidence"
)

// concludedAgain judges a folder that somebody has changed, writes all conclusions again, and signs
// them with a key of his own.
func concludedAgain(t *testing.T, dir string) Verdict {
	t.Helper()
	v, err := Conclude(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, seal := range []string{evidence.ManifestFile, evidence.SignatureFile,
		evidence.PublicKeyFile} {
		if err := os.Remove(filepath.Join(dir, seal)); err != nil {
			t.Fatal(err)
		}
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := evidence.Seal(dir, key); err != nil {
		t.Fatal(err)
	}
	return v
}

// edit changes a file of a bundle.
func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	after := change(bytes.Clone(before))
	if bytes.Equal(before, after) {
		t.Fatalf("%s has not changed", path)
	}
	writeFile(t, path, after)
}

// without removes the lines that contain a text.
func without(text string) func([]byte) []byte {
	return func(all []byte) []byte {
		lines := bytes.SplitAfter(all, []byte("\n"))
		return bytes.Join(slices.DeleteFunc(lines, func(line []byte) bool {
			return bytes.Contains(line, []byte(text))
		}), nil)
	}
}

func replace(from, to string) func([]byte) []byte {
	return func(all []byte) []byte { return bytes.ReplaceAll(all, []byte(from), []byte(to)) }
}

// Goal: evidence of a gate that lost an event cannot be turned into a PASS by taking the event out
// of all files, or by changing the ledger, even if all conclusions are made again and signed.
// Method: each change to a bundle that says FAIL, concluded again. The ledger must be that of the
// plan, so VerifyBundle rejects it and the verdict is no PASS.
func TestLedgerFollowsThePlan(t *testing.T) {
	v, dir := lossyBundle.copy(t)
	if v.Status != Fail {
		t.Fatalf("the verdict is %s", v.Status)
	}
	in := func(name string) string { return filepath.Join(Smoke, name) }
	lost := v.RunID + `-smoke-30"`
	for name, changes := range map[string]map[string]func([]byte) []byte{
		"lost event taken out": {in(ledgerFile): without(lost), in(lineageFile): without(lost)},
		"lost event taken out, fewer planned": {in(ledgerFile): without(lost),
			in(lineageFile): without(lost), in(phaseFile): replace(`"planned": 66`, `"planned": 65`)},
		"fewer events in the profile": {in(ledgerFile): without(lost), in(lineageFile): without(lost),
			profileFile: replace(`"events": 60,`, `"events": 59,`)},
		"more events than fit into memory": {
			profileFile: replace(`"events": 60,`, `"events": 1000000000000000,`)},
		"lost event renamed": {in(ledgerFile): replace(lost, v.RunID+`-smoke-29"`)},
		"another key":        {in(ledgerFile): replace("-key-3\"", "-key-4\"")},
		"another sequence":   {in(ledgerFile): replace(`"sequence":2`, `"sequence":3`)},
		"another body": {in(ledgerFile): func(b []byte) []byte {
			before, after, _ := bytes.Cut(b, []byte(`"sha256":"`))
			digit := "0"
			if after[0] == '0' {
				digit = "1"
			}
			return slices.Concat(before, []byte(`"sha256":"`+digit), after[1:])
		}},
		"another kind":   {in(ledgerFile): replace(`"kind":"later"`, `"kind":"at_once"`)},
		"another seed":   {profileFile: replace(`"seed": 1`, `"seed": 2`)},
		"another prefix": {in(phaseFile): replace(`"prefix": "cert`, `"prefix": "dert`)},
		"a line twice": {in(ledgerFile): func(b []byte) []byte {
			return append(b, b[:bytes.IndexByte(b, '\n')+1]...)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changed := filepath.Join(t.TempDir(), "evidence")
			if err := os.CopyFS(changed, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			for file, change := range changes {
				edit(t, filepath.Join(changed, file), change)
			}
			again := concludedAgain(t, changed)
			ids, text := faulty(again)
			if again.Status == Pass || !slices.Contains(ids, "plan") {
				t.Errorf("the verdict is %s\n%s", again.Status, text)
			}
			var bad *BundleError
			if _, _, err := VerifyBundle(changed, nil); !errors.As(err, &bad) ||
				!strings.Contains(err.Error(), ledgerFile) {
				t.Errorf("verified: %v", err)
			}
		})
	}
}

// Goal: a version or target that is changed in one place is found, and so is a gate that is
// replaced during the certification. Method: the changes, concluded again.
func TestEvidenceNamesOneTarget(t *testing.T) {
	v, dir := honestBundle.copy(t)
	if v.Status != Pass {
		_, text := faulty(v)
		t.Fatal(text)
	}
	for name, change := range map[string]struct {
		file string
		f    func([]byte) []byte
		// forged is true if no honest client can have made it.
		forged bool
	}{
		"the version": {startFile, replace(`"version": "test"`, `"version": "v9"`), true},
		"the target":  {startFile, replace(`"target": "http`, `"target": "https`), true},
		"the health":  {environmentFile, replace(`"version": "test",`, `"version": "v9",`), true},
		"the health at the end": {environmentFile, func(b []byte) []byte {
			i := bytes.Index(b, []byte("healthAtEnd"))
			return append(b[:i:i], replace(`"version": "test",`, `"version": "v9",`)(b[i:])...)
		}, false},
		"the metrics": {filepath.Join(Smoke, afterFile), func(b []byte) []byte {
			return append(b, "hookgate_build_info{version=\"v9\"} 1\n"...)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changed := filepath.Join(t.TempDir(), "evidence")
			if err := os.CopyFS(changed, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			edit(t, filepath.Join(changed, change.file), change.f)
			again := concludedAgain(t, changed)
			ids, text := faulty(again)
			if again.Status != Invalid || !slices.Equal(ids, []string{"target"}) {
				t.Errorf("the verdict is %s\n%s", again.Status, text)
			}
			_, _, err := VerifyBundle(changed, nil)
			if errors.As(err, new(*BundleError)) != change.forged {
				t.Errorf("verified: %v", err)
			}
		})
	}
}

// Goal: evidence of strangers with impossible numbers is rejected, and is not computed with.
func TestImpossibleProfile(t *testing.T) {
	_, dir := honestBundle.copy(t)
	edit(t, filepath.Join(dir, profileFile), replace(`"canary_percent": 100`, `"canary_percent": 0`))
	if _, err := Judge(dir); err == nil || !strings.Contains(err.Error(), "canary_percent is 0") {
		t.Errorf("judged: %v", err)
	}
}
