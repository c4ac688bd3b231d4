package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/secret"
)

// dataDir is the folder that holds everything the gate must not lose.
//
//	store.db      events, lineage, dead letters, and the settings of the gate
//	spool.db      what is acknowledged while the store or Redis is away
//	queue.db      what an earlier release acknowledged and had not stored
//	mode          the mode that Redis had when it was seen last
//	store-mode    the mode that PostgreSQL had when it was seen last, without Redis
//	canary        the canary that was in effect last, with Redis or PostgreSQL
//	audit-failed  there while the last verification of the audit chain found a break
//	keys/         bearer_key, hmac_secret, admin_token: those made on the first start
//	evidence/     bundles that were handed in
//	hookgate.lock who uses the folder now
type dataDir string

func (d dataDir) queueFile() string     { return filepath.Join(string(d), "queue.db") }
func (d dataDir) spoolFile() string     { return filepath.Join(string(d), "spool.db") }
func (d dataDir) modeFile() string      { return filepath.Join(string(d), "mode") }
func (d dataDir) storeModeFile() string { return filepath.Join(string(d), "store-mode") }
func (d dataDir) canaryFile() string    { return filepath.Join(string(d), "canary") }
func (d dataDir) storeFile() string     { return filepath.Join(string(d), "store.db") }
func (d dataDir) auditFile() string     { return filepath.Join(string(d), "audit-failed") }
func (d dataDir) evidenceDir() string   { return filepath.Join(string(d), "evidence") }
func (d dataDir) keyDir() string        { return filepath.Join(string(d), "keys") }
func (d dataDir) keyFile(name string) string {
	return filepath.Join(d.keyDir(), name)
}

// Names of the keys.
const (
	bearerKeyName  = "bearer_key"
	hmacSecretName = "hmac_secret"
	adminTokenName = "admin_token"
)

// dataDirLock is held while a process uses the folder. The kernel drops it when the process ends,
// however it ends.
type dataDirLock struct{ file *os.File }

// lock creates the folder if need be and takes its lock. If another process has it, the error says
// which.
func (d dataDir) lock() (*dataDirLock, error) {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	if err := d.checkFiles(); err != nil {
		return nil, err
	}
	path := filepath.Join(string(d), "hookgate.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		holder, _ := os.ReadFile(path)
		return nil, fmt.Errorf("data directory %s is in use by another hookgate (%s);"+
			" stop that one, or choose another folder with --data-dir", d, strings.TrimSpace(string(holder)))
	}
	l := &dataDirLock{f}
	return l, l.note("starting")
}

// checkFiles refuses files and links of strangers where the gate keeps what it must not lose.
func (d dataDir) checkFiles() error {
	paths := []string{filepath.Join(string(d), "hookgate.lock"), d.modeFile(), d.storeModeFile(),
		d.canaryFile(), d.evidenceDir(), d.keyDir()}
	for _, db := range []string{d.queueFile(), d.storeFile(), d.spoolFile()} {
		paths = append(paths, db, db+"-wal", db+"-shm", db+"-journal")
	}
	for _, path := range paths {
		if err := d.checkOwner(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("data directory: %w", err)
		}
	}
	return nil
}

// note writes who holds the lock into its file, for the error message of the next who wants it.
func (l *dataDirLock) note(what string) error {
	text := fmt.Sprintf("pid %d since %s, %s\n", os.Getpid(), time.Now().UTC().Format(time.RFC3339),
		what)
	if err := l.file.Truncate(0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	if _, err := l.file.WriteAt([]byte(text), 0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	return nil
}

func (l *dataDirLock) unlock() { l.file.Close() }

// key returns the key with the given name, after making it if there is none.
func (d dataDir) key(name string) (key string, made bool, err error) {
	path := d.keyFile(name)
	key, err = d.readKey(name)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", false, fmt.Errorf("make key: %w", err)
	}
	random := make([]byte, 32)
	rand.Read(random)
	key = hex.EncodeToString(random)
	if err := writeDurably(path, []byte(key+"\n")); err != nil {
		return "", false, fmt.Errorf("make key: %w", err)
	}
	return key, true, nil
}

// mode returns the mode that was kept in a file, or the normal one if none was.
func (d dataDir) mode(path string) (control.Mode, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return control.ModeNormal, nil
	} else if err != nil {
		return "", fmt.Errorf("read the mode that was seen last: %w", err)
	}
	mode, err := control.ParseMode(strings.TrimSpace(string(text)))
	if err != nil {
		return "", fmt.Errorf("%s: %w; delete it, and the mode is normal until Redis or PostgreSQL tells",
			path, err)
	}
	return mode, nil
}

// keepMode keeps a mode in a file for the next start.
func (d dataDir) keepMode(path string, m control.Mode) error {
	if kept, err := d.mode(path); err == nil && kept == m {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
	}
	if err := writeDurably(path, []byte(m+"\n")); err != nil {
		return fmt.Errorf("keep mode %s for the next start: %w", m, err)
	}
	return nil
}

// auditFailed reports whether the last verification of the audit chain, by this gate or a command,
// found a break.
func (d dataDir) auditFailed() bool {
	_, err := os.Stat(d.auditFile())
	return err == nil
}

// keepAudit notes whether a verification found a break, for every process that uses the folder.
// Without a folder there is none.
func (d dataDir) keepAudit(broken error) error {
	if _, err := os.Stat(string(d)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if broken == nil {
		if err := os.Remove(d.auditFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("note that the audit chain holds: %w", err)
		}
		return nil
	}
	text := time.Now().UTC().Format(time.RFC3339) + " " + broken.Error() + "\n"
	if err := writeDurably(d.auditFile(), []byte(text)); err != nil {
		return fmt.Errorf("note that the audit chain is broken: %w", err)
	}
	return nil
}

// canary returns the canary that was kept, or the one that nobody has set.
func (d dataDir) canary() (control.Canary, error) {
	text, err := os.ReadFile(d.canaryFile())
	if errors.Is(err, fs.ErrNotExist) {
		return control.Canary{}, nil
	} else if err != nil {
		return control.Canary{}, fmt.Errorf("read the canary that was in effect last: %w", err)
	}
	c, err := control.ParseCanary(strings.TrimSpace(string(text)))
	if err != nil {
		return c, fmt.Errorf("%s: %w; delete it, and Redis or PostgreSQL alone tells", d.canaryFile(),
			err)
	}
	return c, nil
}

// keepCanary keeps a canary for the next start.
func (d dataDir) keepCanary(c control.Canary) error {
	if kept, err := d.canary(); err == nil && kept == c {
		return nil
	}
	if err := writeDurably(d.canaryFile(), []byte(c.String()+"\n")); err != nil {
		return fmt.Errorf("keep canary of %d percent for the next start: %w", c.Percent, err)
	}
	return nil
}

// writeDurably writes a file that only its owner may read: under another name, fsync, rename, fsync
// of the folder. After a power cut there is the whole file or none. What stands under the other
// name is left over from a crash, or a link that must not be followed.
func writeDurably(path string, data []byte) error {
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a folder durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// readKey reads the key with the given name. A key that somebody else has put there is refused: a
// folder that others may write to is no reason to take theirs.
func (d dataDir) readKey(name string) (string, error) {
	path := d.keyFile(name)
	for _, p := range []string{d.keyDir(), path} {
		if err := d.checkOwner(p); err != nil {
			return "", err
		}
	}
	return secret.ReadFile(path)
}

// checkOwner refuses a file, folder or link in the data directory that belongs to a stranger. Those
// who may own it are this user, root, and the owner of the data directory, who could do anything
// there.
func (d dataDir) checkOwner(path string) error {
	of := func(info fs.FileInfo, err error) (int, error) {
		if err != nil {
			return 0, err
		}
		return int(info.Sys().(*syscall.Stat_t).Uid), nil
	}
	owner, err := of(os.Lstat(path))
	if err != nil {
		return err
	}
	dirOwner, err := of(os.Stat(string(d)))
	if err != nil {
		return err
	}
	if owner != os.Geteuid() && owner != 0 && owner != dirOwner {
		return fmt.Errorf("%s belongs to user %d, who is neither the one that runs hookgate (%d) nor the owner of %s:"+
			" find out who put it there, and remove it or chown it", path, owner, os.Geteuid(), d)
	}
	return nil
}
