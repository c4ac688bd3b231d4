package secret

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// maxFile bounds a secret file, in bytes. The largest public keys are far smaller.
const maxFile = 64 << 10

// readPrivate reads a file. It returns an error if other users can read the file.
func readPrivate(path string) (string, error) {
	// without O_NONBLOCK a FIFO would block the start
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("read secret file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read secret file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("secret file %s is not a regular file", path)
	}
	if err := checkMode(path, f, info); err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", fmt.Errorf("read secret file: %w", err)
	}
	if len(b) > maxFile {
		return "", fmt.Errorf("secret file %s has more than %d bytes: is it the right file?", path,
			maxFile)
	}
	return string(b), nil
}

// checkMode returns an error if other users can read the file. A group of this process may read it.
// In systemd's folder of credentials, and in a mount of this container, any mode is permitted,
// because no other user can reach the file.
func checkMode(path string, f *os.File, info os.FileInfo) error {
	perm := info.Mode().Perm()
	switch {
	case perm&0o077 == 0, perm&0o007 == 0 && ownGroup(info), isCredential(path), mountedAlone(path, f):
		return nil
	case perm&0o007 != 0:
		return fmt.Errorf("secret file %s can be read by every user (mode %04o): chmod 600 it, or"+
			" chmod 640"+
			" with a group of the user that runs hookgate", path, perm)
	}
	return fmt.Errorf("secret file %s can be read by a group that this process is not in (mode %04o):"+
		" chmod 600 it, or chgrp it to a group of the user that runs hookgate", path, perm)
}

// ownGroup reports whether a file's group is one of the process's own.
func ownGroup(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	groups, err := os.Getgroups()
	return int(stat.Gid) == os.Getegid() || err == nil && slices.Contains(groups, int(stat.Gid))
}

// isCredential reports whether systemd made the file for this service (LoadCredential=). The group
// bits of such a file stand for an access control list of this user only.
func isCredential(path string) bool {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if !filepath.IsAbs(dir) {
		return false
	}
	real, err1 := filepath.EvalSymlinks(path)
	dir, err2 := filepath.EvalSymlinks(dir)
	return err1 == nil && err2 == nil && strings.HasPrefix(real, dir+"/") && private(dir)
}

// private reports whether other users cannot enter a folder.
func private(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.IsDir() && info.Mode().Perm()&0o007 == 0
}
