package evidence

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// newBundle seals a folder of a few files and returns it with its key.
func newBundle(t *testing.T, verdict string) (dir string, key ed25519.PrivateKey) {
	t.Helper()
	dir = t.TempDir()
	write(t, filepath.Join(dir, "verdict.json"), `{"status":"`+verdict+`"}`)
	if err := os.Mkdir(filepath.Join(dir, "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "full", "ledger.ndjson"), strings.Repeat("line\n", 1000))
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := Seal(dir, key); err != nil {
		t.Fatal(err)
	}
	return dir, key
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func packed(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Pack(&b, dir); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestKeys checks that keys can be written and read, and that other keys are rejected.
func TestKeys(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := EncodePrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParsePrivateKey(text); err != nil || !back.Equal(private) {
		t.Errorf("%v, %v", back, err)
	}
	publicText, err := EncodePublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParsePublicKey(publicText); err != nil || !back.Equal(public) {
		t.Errorf("%v, %v", back, err)
	}
	if _, err := ParsePublicKey(text); err == nil {
		t.Error("a private key is taken for a public one")
	}
	if _, err := ParsePrivateKey([]byte("x")); err == nil {
		t.Error("x is a private key")
	}
}

// Goal: Verify accepts a signature of one of the given keys, and of no other.
func TestVerifyKnownKeys(t *testing.T) {
	dir, key := newBundle(t, "PASS")
	other, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	mine := key.Public().(ed25519.PublicKey)
	if by, err := Verify(dir, other, mine); err != nil || !by.Equal(mine) {
		t.Errorf("%v, %v", by, err)
	}
	var changed *ChangedError
	if _, err := Verify(dir, other); !errors.As(err, &changed) {
		t.Errorf("a bundle signed by someone else is taken: %v", err)
	}
	if err := Seal(dir, key); err == nil {
		t.Error("a sealed folder is sealed again")
	}
}

// Goal: a link in a folder is not followed, and names that could point outside of it are rejected.
func TestManifestRefuses(t *testing.T) {
	dir, _ := newBundle(t, "PASS")
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	var changed *ChangedError
	if _, err := Verify(dir); !errors.As(err, &changed) || changed.Path != "link" {
		t.Errorf("%v", err)
	}
	digest := strings.Repeat("0", 64)
	for _, bad := range []string{
		"", "x\n", digest + "  a", digest + " a\n", digest + "  ../a\n", digest + "  /a\n", digest +
			"  a//b\n", digest + "  a b\n",
		digest + "  b\n" + digest + "  a\n", digest + "  a\n" + digest + "  a\n",
		strings.Repeat("A", 64) + "  a\n", digest + "  manifest.sig\n", digest + "  \n",
	} {
		if _, err := ParseManifest([]byte(bad)); !errors.As(err, &changed) {
			t.Errorf("%q is taken for a manifest", bad)
		}
	}
}

// entry is a member of an archive.
type entry struct {
	name, content string
	kind          byte
	link          string
}

func archiveOf(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Size: int64(len(e.content)),
			Mode: 0o644}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Goal: an archive can write only its own regular files, and no more than allowed. Method: the
// known tricks of archives, each next to a correct file. Nothing may appear outside of the folder.
func TestUnpackRefuses(t *testing.T) {
	fine := entry{name: "fine.txt", content: "x"}
	many := []entry{fine}
	for i := range maxFiles {
		many = append(many, entry{name: fmt.Sprintf("d/%d", i)})
	}
	whole := archiveOf(t, fine)
	for name, archive := range map[string][]byte{
		"up":        archiveOf(t, fine, entry{name: "../out", content: "x"}),
		"up inside": archiveOf(t, fine, entry{name: "a/../../out", content: "x"}),
		"absolute":  archiveOf(t, fine, entry{name: "/tmp/out", content: "x"}),
		"dot":       archiveOf(t, fine, entry{name: "./a", content: "x"}),
		"backslash": archiveOf(t, fine, entry{name: `..\out`, content: "x"}),
		"link":      archiveOf(t, fine, entry{name: "l", kind: tar.TypeSymlink, link: "/etc"}),
		"link, then through": archiveOf(t, entry{name: "l", kind: tar.TypeSymlink, link: "/tmp"},
			entry{name: "l/out", content: "x"}),
		"hard link": archiveOf(t, fine, entry{name: "l", kind: tar.TypeLink,
			link: "/etc/passwd"}),
		"device":              archiveOf(t, fine, entry{name: "d", kind: tar.TypeChar}),
		"fifo":                archiveOf(t, fine, entry{name: "f", kind: tar.TypeFifo}),
		"folder":              archiveOf(t, fine, entry{name: "d/", kind: tar.TypeDir}),
		"twice":               archiveOf(t, fine, fine),
		"twice in other case": archiveOf(t, fine, entry{name: "FINE.txt", content: "y"}),
		"file and folder":     archiveOf(t, fine, entry{name: "fine.txt/a", content: "y"}),
		"bomb":                archiveOf(t, entry{name: "zeros", content: strings.Repeat("\x00", 2<<20)}),
		"many small": archiveOf(t, entry{name: "a", content: strings.Repeat("a", 600<<10)},
			entry{name: "b", content: strings.Repeat("b", 600<<10)}),
		"too many": archiveOf(t, many...),
		"no gzip":  []byte("plain"),
		"no tar": func() []byte {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			z.Write(bytes.Repeat([]byte("x"), 2000))
			z.Close()
			return b.Bytes()
		}(),
		"cut short": whole[:len(whole)-10],
		"empty":     nil,
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "in")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := Unpack(bytes.NewReader(archive), dir, 1<<20); !errors.Is(err, ErrArchive) {
				t.Errorf("error %v", err)
			}
			if entries, err := os.ReadDir(outer); err != nil || len(entries) != 1 {
				t.Errorf("outside there is %v (%v)", entries, err)
			}
		})
	}
}

// Goal: a packed folder unpacks to the same files, and equal folders make equal archives.
func TestPackRoundTrip(t *testing.T) {
	dir, _ := newBundle(t, "PASS")
	archive := packed(t, dir)
	if !bytes.Equal(archive, packed(t, dir)) {
		t.Error("one folder makes two archives")
	}
	back := t.TempDir()
	if err := Unpack(bytes.NewReader(archive), back, 1<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(back); err != nil {
		t.Error(err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, archive []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		Unpack(bytes.NewReader(archive), dir, 1<<16)
		if entries, err := os.ReadDir(outer); err != nil || len(entries) != 1 {
			t.Errorf("outside there is %v (%v)", entries, err)
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(strings.Repeat("0", 64) + "  a/b\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		listed, err := ParseManifest(text)
		if err != nil {
			return
		}
		var again bytes.Buffer
		for _, l := range listed {
			fmt.Fprintf(&again, "%x  %s\n", l.SHA256, l.Path)
		}
		if !bytes.Equal(again.Bytes(), text) {
			t.Errorf("%q reads as %q", text, again.Bytes())
		}
	})
}

func manifestOf(t *testing.T, dir string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Goal: a depot stores complete, signed bundles, each once, and nothing else.
func TestDepot(t *testing.T) {
	dir, key := newBundle(t, "PASS")
	at := filepath.Join(t.TempDir(), "depot")
	open := func(max int, keys ...ed25519.PublicKey) *Depot {
		d, err := OpenDepot(at, Limits{Bundle: 1 << 20, Total: 1 << 30, Bundles: max}, keys)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	s := Submission{Application: "app", Gate: "gate",
		Timestamp: time.Now().UTC().Truncate(time.Second), Manifest: manifestOf(t, dir)}
	d := open(2)
	r, err := d.Receive(t.Context(), bytes.NewReader(packed(t, dir)), s)
	if err != nil || r.Verdict != "PASS" || r.Known || r.Files != 3 ||
		r.Key != Fingerprint(key.Public().(ed25519.PublicKey)) {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := Verify(filepath.Join(at, r.ID, "bundle")); err != nil {
		t.Error(err)
	}
	if _, err := d.Receive(t.Context(), bytes.NewReader(packed(t, dir)), s); !errors.Is(err,
		ErrExists) {
		t.Errorf("the same again: %v", err)
	}

	changedDir, _ := newBundle(t, "FAIL")
	changed := Submission{Application: "app", Gate: "gate", Manifest: manifestOf(t, changedDir)}
	write(t, filepath.Join(changedDir, "verdict.json"), `{"status":"PASS"}`)
	var problem *ChangedError
	if _, err := d.Receive(t.Context(), bytes.NewReader(packed(t, changedDir)),
		changed); !errors.As(err, &problem) || problem.Path != "verdict.json" {
		t.Errorf("a changed one: %v", err)
	}
	second, secondKey := newBundle(t, "FAIL")
	if _, err := d.Receive(t.Context(), bytes.NewReader(packed(t, second)), s); !errors.As(err,
		&problem) || problem.Path != ManifestFile {
		t.Errorf("another manifest beside it: %v", err)
	}
	strict := open(2, key.Public().(ed25519.PublicKey))
	other := Submission{Application: "app", Gate: "gate", Manifest: manifestOf(t, second)}
	if _, err := strict.Receive(t.Context(), bytes.NewReader(packed(t, second)),
		other); !errors.As(err, &problem) {
		t.Errorf("one by an unknown key: %v", err)
	}
	known := open(2, secondKey.Public().(ed25519.PublicKey))
	if r, err := known.Receive(t.Context(), bytes.NewReader(packed(t, second)), other); err != nil ||
		!r.Known || r.Verdict != "FAIL" {
		t.Errorf("%+v, %v", r, err)
	}
	third, _ := newBundle(t, "INVALID")
	if _, err := d.Receive(t.Context(), bytes.NewReader(packed(t, third)),
		Submission{Manifest: manifestOf(t, third)}); !errors.Is(err, ErrFull) {
		t.Errorf("beyond what may be kept: %v", err)
	}
	all, err := d.List(t.Context())
	if err != nil || len(all) != 2 || all[0].ID != r.ID || all[0].Gate != "gate" ||
		!all[0].Timestamp.Equal(s.Timestamp) {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := d.Report(t.Context(), r.ID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the report of a bundle without one: %v", err)
	}
	write(t, filepath.Join(at, r.ID, "bundle", "report.html"), "<h1>PASS</h1>")
	if report, err := d.Report(t.Context(), r.ID); err != nil || string(report) != "<h1>PASS</h1>" {
		t.Errorf("the report is %q, %v", report, err)
	}
	for _, id := range []string{"", "..", r.ID + "/../" + r.ID, strings.ToUpper(r.ID),
		strings.Repeat("0", 64), r.ID[:62]} {
		if report, err := d.Report(t.Context(), id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the report of %q: %q, %v", id, report, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(at, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// Goal: a bundle that is submitted several times at once is stored once.
func TestDepotAtOnce(t *testing.T) {
	dir, _ := newBundle(t, "PASS")
	archive, s := packed(t, dir), Submission{Manifest: manifestOf(t, dir)}
	d, err := OpenDepot(filepath.Join(t.TempDir(), "depot"), Limits{Bundle: 1 << 20, Total: 1 << 30,
		Bundles: 10}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	kept := 0
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, err := d.Receive(t.Context(), bytes.NewReader(archive), s)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				kept++
			} else if !errors.Is(err, ErrExists) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if kept != 1 {
		t.Errorf("kept %d times", kept)
	}
}

// TestDepotIsBounded checks the bound on the disk space of all bundles, however small each is.
// After bundles are removed by hand there is room again.
func TestDepotIsBounded(t *testing.T) {
	at := filepath.Join(t.TempDir(), "depot")
	d, err := OpenDepot(at, Limits{Bundle: 1 << 20, Total: 200_000, Bundles: 1000}, nil)
	if err != nil {
		t.Fatal(err)
	}
	receive := func() (Receipt, error) {
		dir, _ := newBundle(t, "PASS")
		return d.Receive(t.Context(), bytes.NewReader(packed(t, dir)),
			Submission{Manifest: manifestOf(t, dir)})
	}
	var kept []Receipt
	for err == nil {
		var r Receipt
		if r, err = receive(); err == nil {
			kept = append(kept, r)
		}
	}
	taken, _ := sizeOf(at)
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "evidence.max_total") ||
		len(kept) < 3 || taken > 200_000 {
		t.Fatalf("%d bundles take %d bytes: %v", len(kept), taken, err)
	}
	if left, err := filepath.Glob(filepath.Join(at, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
	if err := os.RemoveAll(filepath.Join(at, kept[0].ID)); err != nil {
		t.Fatal(err)
	}
	if _, err := receive(); err != nil {
		t.Errorf("where a bundle was removed: %v", err)
	}
}

// TestHeadersOfAnArchiveCount checks that headers that belong to no file end an archive: packed
// they are small.
func TestHeadersOfAnArchiveCount(t *testing.T) {
	var text bytes.Buffer
	zipped := gzip.NewWriter(&text)
	record := make([]byte, 1<<20-512)
	copy(record, fmt.Sprintf("%d comment=", len(record)))
	for i := range record {
		if record[i] == 0 {
			record[i] = 'x'
		}
	}
	record[len(record)-1] = '\n'
	header := func() []byte { // one of type x with that record, which the next replaces
		h := make([]byte, 512)
		copy(h, "PaxHeaders.0/a")
		copy(h[100:], "0000644\x000000000\x000000000\x00")
		copy(h[124:], fmt.Sprintf("%011o\x0000000000000\x00", len(record)))
		h[156] = 'x'
		copy(h[257:], "ustar\x0000")
		sum := 8 * int(' ')
		for i, c := range h {
			if i < 148 || i >= 156 {
				sum += int(c)
			}
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		return h
	}
	padding := make([]byte, (512-len(record)%512)%512)
	for range 64 {
		zipped.Write(header())
		zipped.Write(record)
		zipped.Write(padding)
	}
	zipped.Close()
	err := Unpack(bytes.NewReader(text.Bytes()), t.TempDir(), 1<<20)
	if !errors.Is(err, ErrArchive) || !strings.Contains(err.Error(), "headers have more than") {
		t.Errorf("64 MiB of headers in %d bytes: %v", text.Len(), err)
	}
}

// TestDepotCleansUp checks that a bundle that was being received when the process ended is removed
// at the next start.
func TestDepotCleansUp(t *testing.T) {
	at := t.TempDir()
	if err := os.MkdirAll(filepath.Join(at, incoming+"1", "bundle"), 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDepot(at, Limits{Bundle: 1, Total: 1 << 30, Bundles: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(at); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
	if all, err := d.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

// TestDepotReadsLittle checks the memory: an archive is small however large its files are, and no
// file is read into memory beyond its expected size.
func TestDepotReadsLittle(t *testing.T) {
	large := strings.Repeat(" ", 8<<20)
	for name, change := range map[string]func(dir string){
		ManifestFile:  func(dir string) { write(t, filepath.Join(dir, ManifestFile), large) },
		SignatureFile: func(dir string) { write(t, filepath.Join(dir, SignatureFile), large) },
		PublicKeyFile: func(dir string) { resealWith(t, dir, PublicKeyFile, large) },
		"":            func(dir string) { resealWith(t, dir, "verdict.json", `{"status":"PASS"}`+large) },
	} {
		dir, _ := newBundle(t, "PASS")
		change(dir)
		d, err := OpenDepot(filepath.Join(t.TempDir(), "depot"), Limits{Bundle: 64 << 20, Total: 1 << 30,
			Bundles: 10}, nil)
		if err != nil {
			t.Fatal(err)
		}
		archive, s := packed(t, dir), Submission{Manifest: manifestOf(t, dir)}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := d.Receive(t.Context(), bytes.NewReader(archive), s)
		runtime.ReadMemStats(&after)
		var changed *ChangedError
		switch {
		case name == "" && (err != nil || r.Verdict != ""):
			t.Errorf("a long verdict: %+v, %v", r, err)
		case name != "" && (!errors.As(err, &changed) || changed.Path != name):
			t.Errorf("a long %s: %v", name, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 6<<20 {
			t.Errorf("a long %q took %d bytes of memory", name, took)
		}
	}
}

// resealWith changes a file of a bundle and signs it again.
func resealWith(t *testing.T, dir, name, content string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, old := range []string{ManifestFile, SignatureFile, PublicKeyFile} {
		if err := os.Remove(filepath.Join(dir, old)); err != nil {
			t.Fatal(err)
		}
	}
	if name != PublicKeyFile {
		write(t, filepath.Join(dir, name), content)
		if err := Seal(dir, key); err != nil {
			t.Fatal(err)
		}
		return
	}
	write(t, filepath.Join(dir, name), content)
	manifest, err := Manifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, ManifestFile), string(manifest))
	write(t, filepath.Join(dir, SignatureFile), string(ed25519.Sign(key, manifest)))
}
