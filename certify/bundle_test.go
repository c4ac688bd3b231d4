package certify

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/hookgate/hookgate/evidence"
	"github.com/hookgate/hookgate/load"
)

// smallBundle certifies a gate with few events.
func smallBundle(t *testing.T, f faults) (Verdict, string) {
	t.Helper()
	p := testProfile()
	phase := p.Phases[Smoke]
	phase.Events, phase.Keys = 60, 10
	p.Phases[Smoke] = phase
	return certifyGate(t, newGate(t, f), p)
}

// sharedBundle is the evidence of one certification. Each test gets a copy, which it may change.
type sharedBundle struct {
	faults faults
	once   sync.Once
	v      Verdict
	files  fstest.MapFS
}

var (
	honestBundle = &sharedBundle{}
	lossyBundle  = &sharedBundle{faults: faults{lose: at(30)}}
)

func (b *sharedBundle) copy(t *testing.T) (Verdict, string) {
	t.Helper()
	b.once.Do(func() {
		v, dir := smallBundle(t, b.faults)
		files := fstest.MapFS{}
		for _, path := range bundleFiles(t, dir) {
			content, err := os.ReadFile(filepath.Join(dir, path))
			if err != nil {
				t.Fatal(err)
			}
			files[filepath.ToSlash(path)] = &fstest.MapFile{Data: content, Mode: 0o644}
		}
		b.v, b.files = v, files
	})
	if b.files == nil {
		t.Fatal("the certification that these tests share failed in another test")
	}
	dir := filepath.Join(t.TempDir(), "evidence")
	if err := os.CopyFS(dir, b.files); err != nil {
		t.Fatal(err)
	}
	return b.v, dir
}

// bundleFiles returns the paths of all files of a folder.
func bundleFiles(t *testing.T, dir string) (paths []string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			relative, err := filepath.Rel(dir, path)
			paths = append(paths, relative)
			return err
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return paths
}

// Goal: one changed byte in any file of a bundle is found, and the file is named. Method: in every
// file of a real bundle change the first, a middle and the last byte; then remove the file; then
// add one.
func TestTampering(t *testing.T) {
	v, dir := honestBundle.copy(t)
	if v.Status != Pass {
		_, text := faulty(v)
		t.Fatal(text)
	}
	if _, err := evidence.Verify(dir); err != nil {
		t.Fatal(err)
	}
	if again, err := Recheck(dir); err != nil || again.Status != Pass {
		t.Fatalf("recheck: %v, %v", again.Status, err)
	}
	paths := bundleFiles(t, dir)
	if len(paths) < 25 {
		t.Fatalf("the bundle has %d files", len(paths))
	}
	expect := func(path, what string) {
		t.Helper()
		_, err := evidence.Verify(dir)
		var changed *evidence.ChangedError
		named := errors.As(err, &changed) && (changed.Path == filepath.ToSlash(path) ||
			// The signature or the manifest may be at fault.
			path == evidence.SignatureFile && strings.Contains(err.Error(), path) ||
			// A changed manifest may blame another file.
			path == evidence.ManifestFile)
		if !named {
			t.Errorf("%s, %s: %v", path, what, err)
		}
	}
	for _, path := range paths {
		full := filepath.Join(dir, path)
		content, err := os.ReadFile(full)
		if err != nil || len(content) == 0 {
			t.Fatalf("%s: %v, %d bytes", path, err, len(content))
		}
		for _, i := range []int{0, len(content) / 2, len(content) - 1} {
			changed := bytes.Clone(content)
			changed[i] ^= 1
			writeFile(t, full, changed)
			expect(path, "one byte changed")
		}
		if err := os.Remove(full); err != nil {
			t.Fatal(err)
		}
		expect(path, "removed")
		writeFile(t, full, content)
	}
	writeFile(t, filepath.Join(dir, "another"), []byte("x"))
	expect("another", "added")
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Goal: a signature alone makes no verdict. Conclusions that do not follow from the evidence are
// found even if they are signed. Method: change the conclusions of a bundle, or their evidence, and
// sign it again.
func TestRecheckBundleThatWasSignedSo(t *testing.T) {
	v, dir := lossyBundle.copy(t)
	if v.Status != Fail {
		t.Fatalf("the verdict is %s", v.Status)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path, from, to string
	}{
		{verdictFile, `"FAIL"`, `"PASS"`},
		{reportFile, "FAIL", "PASS"},
		{"smoke/" + storeFile, `"storedEvents": 59`, `"storedEvents": 60`},
		{"smoke/" + ledgerFile, `"status":202`, `"status":500`},
		{"smoke/" + eventsFile, `"bodySha256":"`, `"bodySha256":"0`},
		{profileFile, `"lag_p99_ms": 60000`, `"lag_p99_ms": 60001`},
		{rolesFile, `"status": 401`, `"status": 200`},
		{approvalsFile, `"decidedBy": "bob"`, `"decidedBy": "eve"`},
		{trailFile, `"target": "10 percent"`, `"target": "50 percent"`},
	} {
		full := filepath.Join(dir, test.path)
		content, err := os.ReadFile(full)
		if err != nil {
			t.Fatal(err)
		}
		changed := bytes.Replace(content, []byte(test.from), []byte(test.to), 1)
		if bytes.Equal(changed, content) {
			t.Fatalf("%s does not have %s", test.path, test.from)
		}
		writeFile(t, full, changed)
		for _, seal := range []string{evidence.ManifestFile, evidence.SignatureFile,
			evidence.PublicKeyFile} {
			if err := os.Remove(filepath.Join(dir, seal)); err != nil {
				t.Fatal(err)
			}
		}
		if err := evidence.Seal(dir, key); err != nil {
			t.Fatal(err)
		}
		if _, err := evidence.Verify(dir); err != nil {
			t.Errorf("%s: %v", test.path, err)
		}
		if _, err := Recheck(dir); !errors.Is(err, ErrNotDerived) {
			t.Errorf("%s: %v", test.path, err)
		}
		writeFile(t, full, content)
	}
}

// Goal: the ledger of a killed client can be judged, and nothing counts as proved that it cannot
// prove. Method: the folder of a client that is killed while it sends: the phase is unfinished, the
// ledger ends within a line, and nothing was read back.
func TestJudgeAbortedRun(t *testing.T) {
	_, dir := honestBundle.copy(t)
	var run phaseRun
	if err := readJSON(filepath.Join(dir, Smoke, phaseFile), &run); err != nil {
		t.Fatal(err)
	}
	run.Stopped, run.Unread, run.Ended = killed, killed, run.Started
	if err := writeJSON(filepath.Join(dir, Smoke, phaseFile), run); err != nil {
		t.Fatal(err)
	}
	ledger := filepath.Join(dir, Smoke, ledgerFile)
	content, err := os.ReadFile(ledger)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, ledger, content[:len(content)/2])
	for _, name := range []string{eventsFile, againFile, lineageFile} {
		if err := os.Remove(filepath.Join(dir, Smoke, name)); err != nil {
			t.Fatal(err)
		}
	}
	v, err := Judge(dir)
	if err != nil || v.Status != Invalid || v.Phases[0].Requests < 20 || v.Phases[0].Requests > 40 {
		text, _ := json.Marshal(v)
		t.Errorf("%v: %s", err, text)
	}
	for _, c := range v.Criteria {
		if c.ID == "smoke/sent" && c.Status != Invalid {
			t.Errorf("the run is not whole, and %s is %s", c.ID, c.Status)
		}
	}
}

// Goal: names in files of a bundle cannot reach outside of it.
func TestJudgeStaysInItsFolder(t *testing.T) {
	_, dir := honestBundle.copy(t)
	for _, name := range []string{"../" + filepath.Base(dir) + "/smoke", "/etc", "ramp-../../x", "..",
		""} {
		if err := writeJSON(filepath.Join(dir, startFile), start{Phases: []string{name}}); err != nil {
			t.Fatal(err)
		}
		if v, err := Judge(dir); err == nil {
			t.Errorf("a phase called %q is judged: %s", name, v.Status)
		}
	}
}

// Goal: after the death of a client, Resume reads back and judges what it had sent. A fault of the
// target is still found, and there is no PASS. Method: the folder as above, before and after the
// gate has lost an event.
func TestResume(t *testing.T) {
	for name, f := range map[string]faults{"honest": {}, "loses one": {lose: at(5)}} {
		t.Run(name, func(t *testing.T) {
			p := testProfile()
			phase := p.Phases[Smoke]
			phase.Events, phase.Keys = 60, 10
			p.Phases[Smoke] = phase
			g := newGate(t, f)
			_, dir := certifyGate(t, g, p)
			var run phaseRun
			if err := readJSON(filepath.Join(dir, Smoke, phaseFile), &run); err != nil {
				t.Fatal(err)
			}
			run.Stopped, run.Unread, run.Ended = killed, killed, run.Started
			if err := writeJSON(filepath.Join(dir, Smoke, phaseFile), run); err != nil {
				t.Fatal(err)
			}
			ledger := filepath.Join(dir, Smoke, ledgerFile)
			content, err := os.ReadFile(ledger)
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, ledger, content[:len(content)/2])
			for _, name := range []string{evidence.ManifestFile, evidence.SignatureFile,
				evidence.PublicKeyFile, "smoke/" + eventsFile, "smoke/" + againFile} {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			v, err := Resume(t.Context(), Options{Target: g.URL, Token: gateToken, Dir: dir, Version: "test",
				Rules: testRules})
			if err != nil {
				t.Fatal(err)
			}
			ids, text := faulty(v)
			want := Invalid
			if f.lose != nil {
				want = Fail
			}
			if v.Status != want || (want == Fail) != slices.Contains(ids, "persisted") ||
				!slices.Contains(ids, "sent") {
				t.Errorf("%s, want %s\n%s", v.Status, want, text)
			}
			if _, err := Recheck(dir); err != nil {
				t.Error(err)
			}
			if _, err := Resume(t.Context(), Options{Target: g.URL, Token: gateToken,
				Dir: dir}); !errors.Is(err, ErrNotRun) {
				t.Errorf("a complete bundle is resumed: %v", err)
			}
		})
	}
}

// Goal: an interrupted certification reads back and judges what it has sent. Requests or phases
// that were left out have not passed. Method: interrupt the first of two phases when some requests
// are answered.
func TestInterrupted(t *testing.T) {
	p := testProfile()
	phase := p.Phases[Smoke]
	phase.Rate, phase.MeanBatch = 50, 0
	p.Phases[Smoke], p.Phases[Load] = phase, phase
	g := newGate(t, faults{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dir := filepath.Join(t.TempDir(), "evidence")
	v, err := Run(ctx, Options{
		Target: g.URL, Token: gateToken, Credentials: load.Credentials{HMACSecret: gateSecret},
		Profile: p, Phases: []string{Smoke, Load}, Dir: dir,
		Version: "test", Rules: testRules, Progress: func(now Progress) {
			if now.Load.Accepted > 10 {
				cancel()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ids, text := faulty(v)
	if v.Status != Invalid || !slices.Contains(ids, "sent") || !slices.Contains(ids, "phases") ||
		slices.Contains(ids, "persisted") || len(v.Phases) != 1 || v.Phases[0].Stored < 10 {
		t.Errorf("%s %+v\n%s", v.Status, v.Phases, text)
	}
	if _, err := Recheck(dir); err != nil {
		t.Error(err)
	}
}
