// Package evidence defines how evidence is kept and exchanged: as a folder, a bundle, whose files
// are listed with their digests in a signed manifest.
//
//	verdict.json, full/ledger.ndjson, …    the files
//	public-key.pem                         the key of the signature; it is listed too
//	manifest.sha256                        "DIGEST  PATH" per file, sorted by path, for sha256sum -c
//	manifest.sig                           the Ed25519 signature of manifest.sha256, 64 bytes
//
// The programs that make evidence, check it and collect it use this package, so it depends on none
// of them.
package evidence

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Names of the files that every bundle has.
const (
	ManifestFile  = "manifest.sha256"
	SignatureFile = "manifest.sig"
	PublicKeyFile = "public-key.pem"
)

// maxManifest bounds a manifest in bytes. maxSmall bounds the other files that are read into
// memory: signature, key and verdict.
const maxManifest, maxSmall = 4 << 20, 256 << 10

// ChangedError names a file that is not what was signed.
type ChangedError struct {
	// Path is the path of the file in the bundle, with slashes.
	Path string
	// The problem, such as "is missing".
	What string
}

// Error implements error.
func (e *ChangedError) Error() string { return e.Path + " " + e.What }

// Seal writes the public key, manifest and signature of a folder, which must not have any.
func Seal(dir string, key ed25519.PrivateKey) error {
	public, err := EncodePublicKey(key.Public().(ed25519.PublicKey))
	if err != nil {
		return fmt.Errorf("seal evidence: %w", err)
	}
	if err := create(filepath.Join(dir, PublicKeyFile), public); err != nil {
		return fmt.Errorf("seal evidence: %w", err)
	}
	manifest, err := Manifest(dir)
	if err != nil {
		return fmt.Errorf("seal evidence: %w", err)
	}
	err = create(filepath.Join(dir, ManifestFile), manifest)
	if err == nil {
		err = create(filepath.Join(dir, SignatureFile), ed25519.Sign(key, manifest))
	}
	if err != nil {
		return fmt.Errorf("seal evidence: %w", err)
	}
	return nil
}

// create writes a file that must not exist.
func create(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// Manifest lists the files of a folder with their digests, except the manifest and its signature.
func Manifest(dir string) ([]byte, error) {
	paths, err := files(dir)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	for _, p := range paths {
		if p == ManifestFile || p == SignatureFile {
			continue
		}
		sum, err := digest(filepath.Join(dir, filepath.FromSlash(p)))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&text, "%x  %s\n", sum, p)
	}
	return text.Bytes(), nil
}

// files returns the sorted paths of the files in a folder. Anything but files and folders is an
// error.
func files(dir string) (paths []string, err error) {
	err = filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		if !entry.Type().IsRegular() {
			return &ChangedError{relative, "is not a regular file"}
		}
		if !cleanPath(relative) {
			return &ChangedError{relative, "has a name that a bundle cannot have"}
		}
		paths = append(paths, relative)
		return nil
	})
	slices.Sort(paths)
	return paths, err
}

// cleanPath reports whether a bundle may have a file with this path: relative, inside the folder,
// in plain characters.
func cleanPath(p string) bool {
	return p != "" && len(p) <= 200 && path.Clean(p) == p && !strings.HasPrefix(p, "/") && p != ".." &&
		!strings.HasPrefix(p, "../") &&
		!strings.ContainsFunc(p, func(r rune) bool {
			return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
				strings.ContainsRune("._-/", r))
		})
}

func digest(name string) (sum []byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

// Verify checks the signature, the manifest and the files of a folder, and returns the key of the
// signature. If keys are given, it must be one of them. A *ChangedError names the first file, by
// path, that is not what was signed.
func Verify(dir string, keys ...ed25519.PublicKey) (ed25519.PublicKey, error) {
	manifest, err := read(dir, ManifestFile, maxManifest)
	if err != nil {
		return nil, err
	}
	signature, err := read(dir, SignatureFile, maxSmall)
	if err != nil {
		return nil, err
	}
	listed, err := ParseManifest(manifest)
	if err != nil {
		return nil, err
	}
	// Files first, so that a changed file is named even if the key was changed too.
	present, err := files(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range listed {
		sum, err := digest(filepath.Join(dir, filepath.FromSlash(f.Path)))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &ChangedError{f.Path, "is missing"}
		} else if err != nil {
			return nil, err
		}
		if !bytes.Equal(sum, f.SHA256[:]) {
			return nil, &ChangedError{f.Path, "is not what the manifest says"}
		}
	}
	for _, p := range present {
		if p != ManifestFile && p != SignatureFile &&
			!slices.ContainsFunc(listed, func(f File) bool { return f.Path == p }) {
			return nil, &ChangedError{p, "is not in the manifest"}
		}
	}
	text, err := read(dir, PublicKeyFile, maxSmall)
	if err != nil {
		return nil, err
	}
	public, err := ParsePublicKey(text)
	if err != nil {
		return nil, &ChangedError{PublicKeyFile, err.Error()}
	}
	return public, Trusted(manifest, signature, public, keys)
}

// read reads a file of a folder. It must exist and have at most max bytes.
func read(dir, name string, max int64) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &ChangedError{name, "is missing"}
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	switch info, err := f.Stat(); {
	case err != nil:
		return nil, err
	case info.Size() > max:
		return nil, &ChangedError{name, fmt.Sprintf("is longer than %d bytes", max)}
	}
	return io.ReadAll(io.LimitReader(f, max))
}

// Trusted checks a signature with the key of the bundle, which must be one of keys if there are
// any.
func Trusted(manifest, signature []byte, public ed25519.PublicKey, keys []ed25519.PublicKey) error {
	if !ed25519.Verify(public, manifest, signature) {
		return &ChangedError{ManifestFile, "is not what was signed, or " + SignatureFile +
			" is not its signature by the key in " + PublicKeyFile}
	}
	if len(keys) > 0 && !slices.ContainsFunc(keys,
		func(k ed25519.PublicKey) bool { return k.Equal(public) }) {
		return &ChangedError{SignatureFile, "is by the key " + Fingerprint(public) +
			", which is not a known one"}
	}
	return nil
}

// File is a line of a manifest.
type File struct {
	Path   string
	SHA256 [sha256.Size]byte
}

// ParseManifest parses a manifest. It must be sorted and name each file once.
func ParseManifest(text []byte) (listed []File, err error) {
	bad := func(line int, what string) error {
		return &ChangedError{ManifestFile, fmt.Sprintf("cannot be read: line %d %s", line, what)}
	}
	if len(text) == 0 || len(text) > maxManifest || text[len(text)-1] != '\n' {
		return nil, &ChangedError{ManifestFile, "is empty, too long or incomplete"}
	}
	for n := 1; len(text) > 0; n++ {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		text = rest
		sum, name, ok := strings.Cut(string(line), "  ")
		f := File{Path: name}
		// A digest can be written in one way only.
		if b, err := hex.DecodeString(sum); !ok || err != nil || len(b) != sha256.Size ||
			hex.EncodeToString(b) != sum {
			return nil, bad(n, "has no digest")
		} else {
			copy(f.SHA256[:], b)
		}
		switch {
		case !cleanPath(name) || name == ManifestFile || name == SignatureFile:
			return nil, bad(n, "names a file that cannot be in a bundle")
		case len(listed) > 0 && listed[len(listed)-1].Path >= name:
			return nil, bad(n, "is out of order")
		}
		listed = append(listed, f)
	}
	return listed, nil
}
