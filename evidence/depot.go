package evidence

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

var (
	// ErrExists is returned by Receive for a bundle that the depot already has.
	ErrExists = errors.New("the depot already has this evidence")
	// ErrFull is wrapped by the error of Receive if the depot is full, or its disk is.
	ErrFull = errors.New("the depot is full")
	// ErrUnknown is returned by Find for a bundle that the depot does not have.
	ErrUnknown = errors.New("there is no such evidence")
)

// Submission describes a bundle that is submitted.
type Submission struct {
	Application string `json:"application"`
	Gate        string `json:"gate"`
	// Timestamp is when it was submitted, by the clock of the sender.
	Timestamp time.Time `json:"timestamp"`
	// Manifest must be equal to that of the bundle, byte for byte.
	Manifest []byte `json:"-"`
}

// Receipt describes a bundle that a depot has.
type Receipt struct {
	// ID is the SHA-256 of the manifest, in hexadecimal.
	ID string `json:"id"`
	Submission
	ReceivedAt time.Time `json:"receivedAt"`
	// Key is the fingerprint of the key that signed it. Known is true if that key is configured.
	Key   string `json:"key"`
	Known bool   `json:"keyKnown"`
	// Verdict is the status in verdict.json.
	Verdict string `json:"verdict"`
	Files   int    `json:"files"`
}

// Depot keeps bundles in a folder. Each is verified before it is stored, and never changes after
// that.
//
//	ID/receipt.json
//	ID/bundle/…       the files
//	.incoming-…       a bundle that is being received
type Depot struct {
	dir    string
	limits Limits
	keys   []ed25519.PublicKey
	// demand returns the reason why a bundle is not enough to promote a gate on it; nil accepts all.
	demand func(bundle string) (reason string, err error)

	mu    sync.Mutex // guards all below; one bundle at a time is put into its place
	known bool       // taken has been counted
	taken int64      // disk space of the bundles, in bytes
}

// Limits bound a depot.
type Limits struct {
	// Bundle is the greatest size of the files of one bundle, Total the disk space of all bundles,
	// both in bytes.
	Bundle, Total int64
	// Bundles is the greatest number of bundles.
	Bundles int
}

// minFree is the part of the disk that must stay free for others, such as the store, in bytes.
const minFree = 256 << 20

const incoming = ".incoming-"

// OpenDepot returns the depot in a folder, which the first bundle creates. It removes bundles that
// a previous process has not completely received. With keys, a bundle must be signed with one of
// them.
func OpenDepot(dir string, limits Limits, keys []ed25519.PublicKey) (*Depot, error) {
	left, err := filepath.Glob(filepath.Join(dir, incoming+"*"))
	if err != nil {
		return nil, fmt.Errorf("open evidence depot: %w", err)
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return nil, fmt.Errorf("open evidence depot: %w", err)
		}
	}
	return &Depot{dir: dir, limits: limits, keys: keys}, nil
}

// Demand sets what Find asks of a bundle before a gate is promoted on it: f returns the reason why
// the bundle in a folder is not enough, or "". Call it before the depot is used.
func (d *Depot) Demand(f func(bundle string) (reason string, err error)) { d.demand = f }

// Receive stores a bundle, given as tar.gz. Its error is ErrExists; or ErrFull; or wraps ErrArchive
// or is a *ChangedError if the archive is wrong. Any other error means that it could not be stored.
// After an error nothing is left of the bundle.
func (d *Depot) Receive(ctx context.Context, archive io.Reader, s Submission) (r Receipt,
	err error) {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return r, fmt.Errorf("receive evidence: %w", err)
	}
	left, err := d.left(d.limits.Bundle)
	if err != nil {
		return r, err
	}
	temp, err := os.MkdirTemp(d.dir, incoming)
	if err != nil {
		return r, fmt.Errorf("receive evidence: %w", err)
	}
	defer os.RemoveAll(temp) // gone if it was renamed
	bundle := filepath.Join(temp, "bundle")
	if err := os.Mkdir(bundle, 0o700); err != nil {
		return r, fmt.Errorf("receive evidence: %w", err)
	}
	room := func(size int64) error {
		if size = onDisk(size); size > left {
			return d.tooMuch()
		}
		left -= size
		if free, known := freeBytes(d.dir); known && free < size+minFree {
			return fmt.Errorf("%w: its disk has %d bytes free, and %d of them must stay free", ErrFull, free,
				minFree)
		}
		return nil
	}
	if err := unpack(archive, bundle, d.limits.Bundle, room); err != nil {
		return r, err
	}
	if err := ctx.Err(); err != nil {
		return r, err
	}
	by, err := Verify(bundle, d.keys...)
	if err != nil {
		return r, err
	}
	manifest, err := os.ReadFile(filepath.Join(bundle, ManifestFile))
	if err != nil {
		return r, fmt.Errorf("receive evidence: %w", err)
	}
	if !bytes.Equal(manifest, s.Manifest) {
		return r, &ChangedError{ManifestFile, "is not equal to the field manifest"}
	}
	sum := sha256.Sum256(manifest)
	r = Receipt{ID: hex.EncodeToString(sum[:]), Submission: s, ReceivedAt: time.Now().UTC(),
		Key: Fingerprint(by), Known: len(d.keys) > 0,
		Files: bytes.Count(manifest, []byte("\n"))}
	r.Verdict = verdictOf(bundle)
	text, err := json.MarshalIndent(&r, "", "  ")
	if err != nil {
		return r, fmt.Errorf("receive evidence: %w", err)
	}
	if err := create(filepath.Join(temp, "receipt.json"), append(text, '\n')); err != nil {
		return r, fmt.Errorf("receive evidence: %w", err)
	}
	size, err := sizeOf(temp)
	if err != nil {
		return r, fmt.Errorf("receive evidence: %w", err)
	}
	if left, err := d.left(size); err != nil {
		return r, err
	} else if size > left {
		return r, d.tooMuch()
	}
	return r, d.place(temp, r.ID, size)
}

func (d *Depot) tooMuch() error {
	return fmt.Errorf("%w: its bundles may take %d bytes; raise evidence.max_total or remove some",
		ErrFull, d.limits.Total)
}

// left returns the disk space that the depot may still use. If that seems to be less than needed,
// left counts again, because people remove bundles by hand.
func (d *Depot) left(needed int64) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.known || d.limits.Total-d.taken < needed {
		taken, err := sizeOf(d.dir)
		if err != nil {
			return 0, fmt.Errorf("receive evidence: %w", err)
		}
		d.taken, d.known = taken, true
	}
	return d.limits.Total - d.taken, nil
}

// onDisk returns about the disk space of a file, whose last block is rarely full.
func onDisk(size int64) int64 { return (size + 4095) / 4096 * 4096 }

// sizeOf returns the disk space of a folder, without bundles that are being received.
func sizeOf(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
			return nil
		case err != nil:
			return err
		case e.IsDir() && path != dir && strings.HasPrefix(e.Name(), incoming):
			return fs.SkipDir
		}
		info, err := e.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err == nil:
			sum += onDisk(max(1, info.Size()))
		}
		return err
	})
	return sum, err
}

// verdictOf returns the status in verdict.json, if there is one.
func verdictOf(bundle string) string {
	var v struct{ Status string }
	text, err := read(bundle, "verdict.json", maxSmall)
	if err != nil || json.Unmarshal(text, &v) != nil || len(v.Status) > 20 {
		return ""
	}
	return v.Status
}

// place gives a bundle its name, durably: fsync of its files and folders, rename, fsync of the
// depot.
func (d *Depot) place(temp, id string, size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept, err := d.ids()
	switch {
	case err != nil:
		return fmt.Errorf("receive evidence: %w", err)
	case slices.Contains(kept, id):
		return ErrExists
	case len(kept) >= d.limits.Bundles:
		return ErrFull
	}
	err = filepath.WalkDir(temp, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncPath(path)
	})
	if err == nil {
		err = os.Rename(temp, filepath.Join(d.dir, id))
	}
	if err == nil {
		err = syncPath(d.dir)
	}
	if err != nil {
		return fmt.Errorf("receive evidence: %w", err)
	}
	d.taken += size
	return nil
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// ids returns the names of the bundles.
func (d *Depot) ids() (ids []string, err error) {
	entries, err := os.ReadDir(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			ids = append(ids, e.Name())
		}
	}
	return ids, err
}

// Verdict is the part of verdict.json that a depot reads.
type Verdict struct {
	// Status is PASS, FAIL or INVALID.
	Status string `json:"status"`
	// Application and Target name what was certified, and Version is its version.
	Application string `json:"application"`
	Target      string `json:"target"`
	Version     string `json:"version"`
	// RunID begins the names of the tokens that the certification made on its target.
	RunID string `json:"runId"`
	// FinishedAt is when the certification ended, by its own clock.
	FinishedAt time.Time `json:"finishedAt"`

	// Lacking is the reason why the bundle is not enough to promote a gate on it. It is not in
	// verdict.json.
	Lacking string `json:"-"`
}

// Find returns a bundle with its verdict, and whether one of the keys of now has signed it.
// ErrUnknown: there is none with this id.
func (d *Depot) Find(_ context.Context, id string) (r Receipt, v Verdict, err error) {
	if sum, err := hex.DecodeString(id); err != nil || len(sum) != sha256.Size ||
		hex.EncodeToString(sum) != id {
		return r, v, ErrUnknown
	}
	text, err := os.ReadFile(filepath.Join(d.dir, id, "receipt.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return r, v, ErrUnknown
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err == nil {
		text, err = read(filepath.Join(d.dir, id, "bundle"), "verdict.json", maxSmall)
	}
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err == nil {
		r.Known = slices.ContainsFunc(d.keys, func(k ed25519.PublicKey) bool {
			return Fingerprint(k) == r.Key
		})
		if len(d.keys) > 0 && !r.Known { // it was received before the keys were configured
			v.Lacking = "the key that signed it is none of evidence.public_keys"
		} else if d.demand != nil {
			v.Lacking, err = d.demand(filepath.Join(d.dir, id, "bundle"))
		}
	}
	if err != nil {
		return r, v, fmt.Errorf("read evidence %s: %w", id, err)
	}
	return r, v, nil
}

// List returns the bundles, oldest first.
func (d *Depot) List(context.Context) ([]Receipt, error) {
	ids, err := d.ids()
	if err != nil {
		return nil, fmt.Errorf("list evidence: %w", err)
	}
	all := make([]Receipt, 0, len(ids))
	for _, id := range ids {
		text, err := os.ReadFile(filepath.Join(d.dir, id, "receipt.json"))
		var r Receipt
		if err == nil {
			err = json.Unmarshal(text, &r)
		}
		if err != nil {
			return nil, fmt.Errorf("list evidence: %w", err)
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b Receipt) int { return a.ReceivedAt.Compare(b.ReceivedAt) })
	return all, nil
}

// Report returns the report of a bundle. fs.ErrNotExist: there is no such bundle, or its report is
// missing or too large.
func (d *Depot) Report(_ context.Context, id string) ([]byte, error) {
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != sha256.Size ||
		id != hex.EncodeToString(raw) {
		return nil, fs.ErrNotExist // not the name of a folder of the depot
	}
	report, err := read(filepath.Join(d.dir, id, "bundle"), reportFile, maxReport)
	if changed := new(ChangedError); errors.As(err, &changed) {
		return nil, fs.ErrNotExist
	}
	return report, err
}

const (
	// reportFile is the report of a bundle for people, maxReport its greatest size in bytes.
	reportFile = "report.html"
	maxReport  = 8 << 20
)
