package evidence

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxFiles is the greatest number of files in an archive.
const maxFiles = 1000

// ErrArchive is wrapped by the error of Unpack for an archive that is too large, or is not that of
// a bundle.
var ErrArchive = errors.New("the archive cannot be used")

// Pack writes the files of a folder as tar.gz. Equal files make equal bytes.
func Pack(w io.Writer, dir string) error {
	paths, err := files(dir)
	if err != nil {
		return fmt.Errorf("pack evidence: %w", err)
	}
	zipped := gzip.NewWriter(w)
	out := tar.NewWriter(zipped)
	for _, p := range paths {
		if err := packFile(out, dir, p); err != nil {
			return fmt.Errorf("pack evidence: %s: %w", p, err)
		}
	}
	return errors.Join(out.Close(), zipped.Close())
}

func packFile(out *tar.Writer, dir, name string) error {
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := out.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: info.Size(),
		Mode: 0o644, ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err = io.Copy(out, f)
	return err
}

// Unpack writes the files of a tar.gz into an empty folder: regular files with plain relative
// paths, each once, of at most maxBytes together. Unpack rejects an archive that has anything else.
// The caller removes the files that were written before the error.
func Unpack(r io.Reader, dir string, maxBytes int64) error {
	return unpack(r, dir, maxBytes, func(int64) error { return nil })
}

// maxHeaders bounds the bytes of an archive outside of its files. PAX headers can have any length
// and belong to no file.
const maxHeaders = 4 << 20

// unpack is Unpack, and calls room before each file with the bytes that the file needs.
func unpack(r io.Reader, dir string, maxBytes int64, room func(int64) error) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrArchive, fmt.Sprintf(format, args...))
	}
	zipped, err := gzip.NewReader(r)
	if err != nil {
		return refuse("it is not gzip: %v", err)
	}
	all := &io.LimitedReader{R: zipped, N: maxBytes + maxHeaders}
	in := tar.NewReader(all)
	seen := map[string]bool{} // in lower case, because some file systems ignore case
	left := maxBytes
	for n := 0; ; n++ {
		h, err := in.Next()
		if err == io.EOF && all.N > 0 {
			break
		}
		switch {
		case all.N <= 0:
			return refuse("its files and headers have more than %d bytes", maxBytes+maxHeaders)
		case err != nil:
			return refuse("it is not tar: %v", err)
		case n == maxFiles:
			return refuse("it has more than %d files", maxFiles)
		case h.Typeflag != tar.TypeReg:
			return refuse("%q is not a regular file", h.Name)
		case !cleanPath(h.Name):
			return refuse("%q is not a path that evidence can have", h.Name)
		case seen[strings.ToLower(h.Name)]:
			return refuse("%q occurs twice", h.Name)
		case h.Size < 0 || h.Size > left:
			return refuse("its files have more than %d bytes", maxBytes)
		}
		seen[strings.ToLower(h.Name)] = true
		left -= h.Size
		if err := room(h.Size + 4096*int64(strings.Count(h.Name, "/"))); err != nil { // with its folders
			return err
		}
		if err := unpackFile(filepath.Join(dir, filepath.FromSlash(h.Name)), in, h.Size); err != nil {
			return err
		}
	}
	// Bytes after the end of the tar would never be checked.
	if n, err := io.Copy(io.Discard, io.LimitReader(zipped, 1<<20)); err != nil || n == 1<<20 {
		return refuse("it has more bytes after its end")
	}
	return nil
}

func unpackFile(name string, in io.Reader, size int64) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return unpackError(err)
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return unpackError(err)
	}
	n, copyErr := io.Copy(f, in)
	if err := f.Close(); err != nil {
		return unpackError(err)
	}
	var disk *fs.PathError
	switch {
	case errors.As(copyErr, &disk):
		return unpackError(copyErr)
	case copyErr != nil || n != size:
		return fmt.Errorf("%w: a file is incomplete: %v", ErrArchive, copyErr)
	}
	return nil
}

// unpackError distinguishes an archive in which a path is both a file and a folder from a disk that
// fails.
func unpackError(err error) error {
	if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) ||
		errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: one of its paths is a file and a folder", ErrArchive)
	}
	return fmt.Errorf("unpack evidence: %w", err)
}
