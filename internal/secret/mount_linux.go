package secret

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// sharedMounts are file systems that all users of a machine share. A service may see them as
// read-only.
var sharedMounts = []string{"/", "/run", "/var/run", "/tmp", "/var/tmp", "/dev", "/dev/shm"}

const (
	tmpfsMagic   = 0x01021994
	overlayMagic = 0x794c7630
	readOnly     = 1 // ST_RDONLY of statfs
)

// mountedAlone reports whether a file was mounted read-only for this container: alone, as Docker
// mounts a secret, or in an in-memory file system of its own, as Kubernetes mounts a secret volume.
func mountedAlone(path string, f *os.File) bool {
	var fs syscall.Statfs_t
	if syscall.Fstatfs(int(f.Fd()), &fs) != nil || fs.Flags&readOnly == 0 {
		return false
	}
	// Kubernetes: NAME -> ..data/NAME, ..data -> ..2026_11_28_…
	real, err := filepath.EvalSymlinks(path)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return false
	}
	dev := func(path string) (n uint64, ok bool) {
		var stat syscall.Stat_t
		err := syscall.Stat(path, &stat)
		return stat.Dev, err == nil
	}
	own, ok1 := dev(real)
	root := filepath.Dir(real)
	above, ok2 := dev(root)
	switch {
	case !ok1 || !ok2:
		return false
	case own != above:
		return fs.Type != overlayMagic // where files and folders of one mount have different devices
	case fs.Type != tmpfsMagic:
		return false
	}
	for root != "/" {
		parent := filepath.Dir(root)
		if above, ok := dev(parent); !ok || above != own {
			break
		}
		root = parent
	}
	return !slices.Contains(sharedMounts, root)
}
