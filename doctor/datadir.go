package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/hookgate/hookgate/internal/datadir"
)

// DataDir is the data directory of a process.
type DataDir struct {
	Path string
	// Holds names its contents.
	Holds string
	// KeyFiles are the names of its key files, which may be missing.
	KeyFiles []string
	// Left are files with acknowledged webhooks that the configuration does not use.
	Left []Leftover
	// UsedRedis is true if the folder was used with Redis, and the configuration has no Redis.
	UsedRedis bool
	// Records is the greatest number of acknowledged webhooks that wait in it. RecordBytes is their
	// assumed size, MaxBytes the greatest size.
	Records, RecordBytes, MaxBytes int64
}

// Leftover is a file of an earlier configuration.
type Leftover struct {
	Path    string
	Records int64
	// Err is the reason why the file could not be read.
	Err error
}

// slowFsync and verySlowFsync are the times above which an fsync is reported. An fsync below
// suspiciousFsync cannot have reached a disk.
const (
	slowFsync, verySlowFsync = 10 * time.Millisecond, 50 * time.Millisecond
	suspiciousFsync          = 20 * time.Microsecond
)

func (d DataDir) examine(a area) {
	at := d.Path
	info, err := os.Stat(at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if at, err = nearest(d.Path); err != nil {
			a.add(Unknown, "folder", err.Error(), "a folder", "create it")
			return
		}
		a.add(Advice, "folder", d.Path+" does not exist", "",
			"nothing, if the path is right: the first start creates it in "+at)
	case err != nil:
		a.add(Unknown, "folder", err.Error(), "a folder", "make it readable for this user")
		return
	case !info.IsDir():
		a.add(Warning, "folder", d.Path+" is not a folder", "a folder", "choose another data_dir")
		return
	case info.Mode().Perm()&0o077 != 0:
		a.add(Warning, "folder", fmt.Sprintf("%s has mode %04o", d.Path, info.Mode().Perm()), "0700",
			"chmod 700 "+d.Path+": it contains bodies and keys")
	default:
		a.ok("folder", d.Path+", for "+d.Holds)
	}
	for _, name := range d.KeyFiles {
		path := filepath.Join(d.Path, name)
		info, err := os.Stat(path)
		switch {
		case err == nil && info.Mode().Perm()&0o077 != 0:
			a.add(Warning, "key file", fmt.Sprintf("%s has mode %04o", path, info.Mode().Perm()), "0600",
				"chmod 600 "+path+", and make a new key: others could read it")
		case err == nil:
			a.ok("key file", path)
		}
	}
	d.left(a)
	filesystem(a, at)
	d.space(a, at)
	timeFsync(a, at)
}

// left reports webhooks that an earlier configuration has acknowledged.
func (d DataDir) left(a area) {
	for _, l := range d.Left {
		switch {
		case l.Err != nil:
			a.add(Unknown, "unused queue", l.Err.Error(), "readable",
				"find out why: it may contain acknowledged webhooks")
		case l.Records > 0:
			a.add(Warning, "unused queue",
				fmt.Sprintf("%d acknowledged webhooks wait in %s, which this configuration does "+
					"not use",
					l.Records, l.Path), "none",
				"start hookgate serve: it moves them to the queue; while it runs, wait until it "+
					"has")
		}
	}
	if d.UsedRedis {
		a.add(Advice, "earlier Redis", d.Path+" was used with Redis, and redis.url is not set", "",
			"nothing if Redis was drained; otherwise start a gate with the old REDIS_URL and run "+
				"hookgate drain")
	}
}

// nearest returns the folder in which a missing path would be created.
func nearest(path string) (string, error) {
	path, err := filepath.Abs(path)
	for err == nil {
		path = filepath.Dir(path)
		if _, err = os.Stat(path); err == nil {
			return path, nil
		} else if errors.Is(err, fs.ErrNotExist) && path != filepath.Dir(path) {
			err = nil
		}
	}
	return "", err
}

// filesystem judges the kind of a file system.
func filesystem(a area, path string) {
	kind, err := filesystemOf(path)
	switch {
	case err != nil:
		a.add(Unknown, "filesystem", err.Error(), "a local disk", "")
	case kind == "tmpfs" || kind == "ramfs":
		a.add(LosesData, "filesystem", kind, "a local disk",
			"choose a data_dir on a disk: this one is in memory, and a restart of the machine "+
				"loses it")
	case kind == "overlay":
		a.add(Warning, "filesystem", kind, "a volume",
			"mount a volume for data_dir: this one is deleted with its container")
	case slices.Contains([]string{"nfs", "smb", "fuse"}, kind):
		a.add(Warning, "filesystem", kind, "a local disk",
			"choose a data_dir on a local disk: SQLite's locks and fsync are not reliable over a "+
				"network")
	case kind == "":
		a.ok("filesystem", "of an unknown kind")
	default:
		a.ok("filesystem", kind)
	}
}

// space compares the free space with the space that waiting webhooks need.
func (d DataDir) space(a area, path string) {
	free, _, err := datadir.Dir(path).Space()
	if err != nil {
		a.add(Unknown, "free space", err.Error(), "", "")
		return
	}
	usual, most := d.Records*d.RecordBytes, d.Records*d.MaxBytes
	seen := size(free)
	want := fmt.Sprintf("%s: %d records of %s; at most %s", size(usual), d.Records,
		size(d.RecordBytes), size(most))
	switch {
	case free < usual:
		a.add(Warning, "free space", seen, want,
			"free some space, or lower queue.high_water: on a full disk webhooks get 503")
	case free < most:
		a.add(Advice, "free space", seen, want,
			"this is enough for bodies of the usual size; if yours are large, lower "+
				"http.max_body or the high-water mark")
	default:
		a.ok("free space", seen)
	}
}

// timeFsync times writes to a file, which it then removes.
func timeFsync(a area, path string) {
	f, err := os.CreateTemp(path, "hookgate-doctor-")
	if err != nil {
		a.add(Unknown, "writing", err.Error(), "a folder that this user may write to", "chown or chmod "+
			path+" for the user that runs the gate, or run the doctor as that user")
		return
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var times []time.Duration
	for n := range 15 {
		begin := time.Now()
		if _, err := f.WriteAt([]byte(strconv.Itoa(n)), int64(n)*4096); err != nil {
			a.add(Warning, "writing", err.Error(), "", "find out why: nothing can be acknowledged")
			return
		}
		if err := f.Sync(); err != nil {
			a.add(LosesData, "fsync", err.Error(), "no error",
				"choose another disk: a 202 is only as durable as an fsync")
			return
		}
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	median := times[len(times)/2]
	seen := fmt.Sprintf("%v (median of %d)", median.Round(time.Microsecond), len(times))
	switch {
	case median > verySlowFsync:
		a.add(Warning, "fsync", seen, "less than "+verySlowFsync.String(),
			"choose a faster disk, one with a protected cache: each 202 waits for an fsync")
	case median > slowFsync:
		a.add(Advice, "fsync", seen, "less than "+slowFsync.String(),
			"choose a faster disk for faster answers: each 202 waits for an fsync")
	case median < suspiciousFsync:
		a.add(Advice, "fsync", seen, "more than "+suspiciousFsync.String(),
			"check that this disk, and the virtual machine, really write before they report "+
				"success")
	default:
		a.ok("fsync", seen)
	}
}
