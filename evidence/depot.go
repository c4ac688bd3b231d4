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
	// ErrExists is returned by Receive for a bundle that is kept already.
	ErrExists = errors.New("this evidence has been received before")
	// ErrFull is returned by Receive when the depot keeps as many bundles as it may.
	ErrFull = errors.New("the depot is full")
	// ErrUnknown is returned by Find for a bundle that is not kept.
	ErrUnknown = errors.New("there is no such evidence")
)

// Submission is what comes with a bundle.
type Submission struct {
	Application string `json:"application"`
	Gate        string `json:"gate"`
	// Timestamp is when it was handed in, by the clock of who did.
	Timestamp time.Time `json:"timestamp"`
	// Manifest must be that of the bundle, to the byte.
	Manifest []byte `json:"-"`
}

// Receipt describes a bundle that is kept.
type Receipt struct {
	// ID is the SHA-256 of the manifest, in hexadecimal.
	ID string `json:"id"`
	Submission
	ReceivedAt time.Time `json:"receivedAt"`
	// Key is the fingerprint of the key that signed it; Known says that it is one of those configured.
	Key   string `json:"key"`
	Known bool   `json:"keyKnown"`
	// Verdict is the status that the bundle's verdict.json has.
	Verdict string `json:"verdict"`
	Files   int    `json:"files"`
}

// Depot keeps bundles in a folder, each verified before it is there and never changed after.
//
//	ID/receipt.json
//	ID/bundle/…       the files
//	.incoming-…       what is being received
type Depot struct {
	dir        string
	maxBytes   int64
	maxBundles int
	keys       []ed25519.PublicKey

	mu sync.Mutex // one bundle is put into its place at a time
}

const incoming = ".incoming-"

// OpenDepot returns the depot in a folder, which is made with the first bundle. What was being received when the process before
// ended is removed. maxBytes bounds the files of a bundle together, maxBundles their number. With keys, a bundle must be signed with one of them.
func OpenDepot(dir string, maxBytes int64, maxBundles int, keys []ed25519.PublicKey) (*Depot, error) {
	left, err := filepath.Glob(filepath.Join(dir, incoming+"*"))
	if err != nil {
		return nil, fmt.Errorf("open evidence depot: %w", err)
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return nil, fmt.Errorf("open evidence depot: %w", err)
		}
	}
	return &Depot{dir: dir, maxBytes: maxBytes, maxBundles: maxBundles, keys: keys}, nil
}

// Receive keeps a bundle, given as tar.gz. Errors: ErrExists; ErrFull; one that wraps ErrArchive or is a *ChangedError if the
// archive is not what it should be; any other means that it could not be kept. In all cases nothing is left of it.
func (d *Depot) Receive(ctx context.Context, archive io.Reader, s Submission) (r Receipt, err error) {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return r, fmt.Errorf("receive evidence: %w", err)
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
	if err := Unpack(archive, bundle, d.maxBytes); err != nil {
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
		return r, &ChangedError{ManifestFile, "is not the one that was handed in beside the archive"}
	}
	sum := sha256.Sum256(manifest)
	r = Receipt{ID: hex.EncodeToString(sum[:]), Submission: s, ReceivedAt: time.Now().UTC(), Key: Fingerprint(by), Known: len(d.keys) > 0,
		Files: bytes.Count(manifest, []byte("\n"))}
	r.Verdict = verdictOf(bundle)
	text, err := json.MarshalIndent(&r, "", "  ")
	if err != nil {
		return r, fmt.Errorf("receive evidence: %w", err)
	}
	if err := create(filepath.Join(temp, "receipt.json"), append(text, '\n')); err != nil {
		return r, fmt.Errorf("receive evidence: %w", err)
	}
	return r, d.place(temp, r.ID)
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

// place gives a bundle its name, durably: fsync of its files and folders, rename, fsync of the depot.
func (d *Depot) place(temp, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept, err := d.ids()
	switch {
	case err != nil:
		return fmt.Errorf("receive evidence: %w", err)
	case slices.Contains(kept, id):
		return ErrExists
	case len(kept) >= d.maxBundles:
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
	return nil
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// ids returns the names of the bundles kept.
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

// Verdict is what the depot knows of a bundle's verdict.json.
type Verdict struct {
	// Status is PASS, FAIL or INVALID.
	Status string `json:"status"`
	// Application and Target name what was certified, Version is what that said of itself.
	Application string `json:"application"`
	Target      string `json:"target"`
	Version     string `json:"version"`
	// FinishedAt is when it was done, by the clock of who certified.
	FinishedAt time.Time `json:"finishedAt"`
}

// Find returns a bundle that is kept, with its verdict. ErrUnknown: there is none of this id.
func (d *Depot) Find(_ context.Context, id string) (r Receipt, v Verdict, err error) {
	if sum, err := hex.DecodeString(id); err != nil || len(sum) != sha256.Size || hex.EncodeToString(sum) != id {
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
	if err != nil {
		return r, v, fmt.Errorf("read evidence %s: %w", id, err)
	}
	return r, v, nil
}

// List returns what is kept, oldest first.
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

// Report returns the report of a bundle that is kept. fs.ErrNotExist: there is no such bundle, or it has no
// report of a size that can be shown.
func (d *Depot) Report(_ context.Context, id string) ([]byte, error) {
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != sha256.Size || id != hex.EncodeToString(raw) {
		return nil, fs.ErrNotExist // it names no folder of the depot
	}
	report, err := read(filepath.Join(d.dir, id, "bundle"), reportFile, maxReport)
	if changed := new(ChangedError); errors.As(err, &changed) {
		return nil, fs.ErrNotExist
	}
	return report, err
}

const (
	// reportFile is the page for people in a bundle, maxReport its size at most, in bytes.
	reportFile = "report.html"
	maxReport  = 8 << 20
)
