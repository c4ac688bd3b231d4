// Package datadir knows the files in the data directory of a gate: their names, the lock, the keys,
// and what a process remembers for its next start.
package datadir

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

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/secret"
)

// Dir is the data directory:
//
//	store.db              events, lineage, dead letters, mode and canary; without PostgreSQL
//	spool.db              webhooks acknowledged while the store or Redis was away
//	queue.db              webhooks that an earlier version acknowledged and did not store
//	mode, store-mode      the last known mode of Redis, and of PostgreSQL without Redis
//	canary                the last known canary
//	audit-failed          exists while the last verification of the audit chain found a break
//	keys/                 bearer_key, hmac_secret, admin_token, made by the first start
//	evidence/             submitted evidence bundles
//	undecodable-ID.bin    a spooled record that cannot be decoded
//	guard-rollback        when the gate last started a roll-back
//	release-rollback.log  output of that roll-back
//	hookgate.lock         locked by the process that uses the folder
type Dir string

// QueueFile returns the path of queue.db.
func (d Dir) QueueFile() string { return d.file("queue.db") }

// SpoolFile returns the path of spool.db.
func (d Dir) SpoolFile() string { return d.file("spool.db") }

// StoreFile returns the path of store.db.
func (d Dir) StoreFile() string { return d.file("store.db") }

// ModeFile returns the path of the last known mode of Redis.
func (d Dir) ModeFile() string { return d.file("mode") }

// StoreModeFile returns the path of the last known mode of PostgreSQL.
func (d Dir) StoreModeFile() string { return d.file("store-mode") }

// CanaryFile returns the path of the last known canary.
func (d Dir) CanaryFile() string { return d.file("canary") }

// AuditFile returns the path of the mark that the audit chain is broken.
func (d Dir) AuditFile() string { return d.file("audit-failed") }

// EvidenceDir returns the folder of the evidence bundles.
func (d Dir) EvidenceDir() string { return d.file("evidence") }

// KeyDir returns the folder of the keys.
func (d Dir) KeyDir() string { return d.file("keys") }

// KeyFile returns the path of a key.
func (d Dir) KeyFile(name string) string { return filepath.Join(d.KeyDir(), name) }

// RollbackStamp returns the path of the time of the last roll-back that the gate started.
func (d Dir) RollbackStamp() string { return d.file("guard-rollback") }

// RollbackLog returns the path of the output of that roll-back.
func (d Dir) RollbackLog() string { return d.file("release-rollback.log") }

func (d Dir) file(name string) string { return filepath.Join(string(d), name) }

// The names of the keys.
const (
	BearerKey  = "bearer_key"
	HMACSecret = "hmac_secret"
	AdminToken = "admin_token"
)

// Lock is the lock of a data directory. The kernel releases it when the process ends for any
// reason.
type Lock struct{ file *os.File }

// Lock creates the folder if it does not exist, and locks it. If another process has the lock, the
// error names the process.
func (d Dir) Lock() (*Lock, error) {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	if err := d.checkFiles(); err != nil {
		return nil, err
	}
	path := d.file("hookgate.lock")
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
	l := &Lock{f}
	return l, l.Note("starting")
}

// checkFiles returns an error if a file or link of the gate belongs to another user.
func (d Dir) checkFiles() error {
	paths := []string{d.file("hookgate.lock"), d.ModeFile(), d.StoreModeFile(),
		d.CanaryFile(), d.EvidenceDir(), d.KeyDir()}
	for _, db := range []string{d.QueueFile(), d.StoreFile(), d.SpoolFile()} {
		paths = append(paths, db, db+"-wal", db+"-shm", db+"-journal")
	}
	for _, path := range paths {
		if err := d.checkOwner(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("data directory: %w", err)
		}
	}
	return nil
}

// Note writes a description of this process into the lock file. It appears in the error of another
// process that tries to lock the folder.
func (l *Lock) Note(state string) error {
	text := fmt.Sprintf("pid %d since %s, %s\n", os.Getpid(), time.Now().UTC().Format(time.RFC3339),
		state)
	if err := l.file.Truncate(0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	if _, err := l.file.WriteAt([]byte(text), 0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	return nil
}

// Close releases the lock.
func (l *Lock) Close() error { return l.file.Close() }

// Key returns the key with the given name. If there is none, it makes a random one.
func (d Dir) Key(name string) (key string, made bool, err error) {
	path := d.KeyFile(name)
	key, err = d.ReadKey(name)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", false, fmt.Errorf("make key: %w", err)
	}
	random := make([]byte, 32)
	rand.Read(random)
	key = hex.EncodeToString(random)
	if err := WriteDurably(path, []byte(key+"\n")); err != nil {
		return "", false, fmt.Errorf("make key: %w", err)
	}
	return key, true, nil
}

// Mode returns the mode in a file, or control.ModeNormal if there is no file.
func (d Dir) Mode(path string) (control.Mode, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return control.ModeNormal, nil
	} else if err != nil {
		return "", fmt.Errorf("read the last known mode: %w", err)
	}
	mode, err := control.ParseMode(strings.TrimSpace(string(text)))
	if err != nil {
		return "", fmt.Errorf("%s: %w; delete the file, and the mode is normal until Redis or"+
			" PostgreSQL answers",
			path, err)
	}
	return mode, nil
}

// KeepMode writes a mode to a file for the next start.
func (d Dir) KeepMode(path string, m control.Mode) error {
	if kept, err := d.Mode(path); err == nil && kept == m {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
	}
	if err := WriteDurably(path, []byte(m+"\n")); err != nil {
		return fmt.Errorf("save the mode %s for the next start: %w", m, err)
	}
	return nil
}

// AuditFailed reports whether the last verification of the audit chain, by the gate or a command,
// found a break.
func (d Dir) AuditFailed() bool {
	_, err := os.Stat(d.AuditFile())
	return err == nil
}

// KeepAudit saves the result of a verification, for AuditFailed in every process. broken is the
// break, or nil. Without a folder KeepAudit does nothing.
func (d Dir) KeepAudit(broken error) error {
	if _, err := os.Stat(string(d)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if broken == nil {
		if err := os.Remove(d.AuditFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the mark of a broken audit chain: %w", err)
		}
		return nil
	}
	text := time.Now().UTC().Format(time.RFC3339) + " " + broken.Error() + "\n"
	if err := WriteDurably(d.AuditFile(), []byte(text)); err != nil {
		return fmt.Errorf("mark the audit chain as broken: %w", err)
	}
	return nil
}

// Canary returns the last known canary, or the zero Canary if there is no file.
func (d Dir) Canary() (control.Canary, error) {
	text, err := os.ReadFile(d.CanaryFile())
	if errors.Is(err, fs.ErrNotExist) {
		return control.Canary{}, nil
	} else if err != nil {
		return control.Canary{}, fmt.Errorf("read the last known canary: %w", err)
	}
	c, err := control.ParseCanary(strings.TrimSpace(string(text)))
	if err != nil {
		return c, fmt.Errorf("%s: %w; delete the file, and the gate uses the canary in Redis or"+
			" PostgreSQL",
			d.CanaryFile(), err)
	}
	return c, nil
}

// KeepCanary writes a canary for the next start.
func (d Dir) KeepCanary(c control.Canary) error {
	if kept, err := d.Canary(); err == nil && kept == c {
		return nil
	}
	if err := WriteDurably(d.CanaryFile(), []byte(c.String()+"\n")); err != nil {
		return fmt.Errorf("save the canary of %d percent for the next start: %w", c.Percent, err)
	}
	return nil
}

// WriteDurably writes a file that only its owner may read. It writes PATH.new, calls fsync, renames
// the file and calls fsync on the folder, so that after a power cut the file is complete or absent.
// It first removes an existing PATH.new, which a crash left or which is a link of another user.
func WriteDurably(path string, data []byte) error {
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
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes new and removed names in a folder durable.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// ReadKey returns the key with the given name. It rejects a key that belongs to another user, who
// may have put it there.
func (d Dir) ReadKey(name string) (string, error) {
	path := d.KeyFile(name)
	for _, p := range []string{d.KeyDir(), path} {
		if err := d.checkOwner(p); err != nil {
			return "", err
		}
	}
	return secret.ReadFile(path)
}

// checkOwner returns an error unless a file, folder or link belongs to this user, to root, or to
// the owner of the data directory, who could replace it anyway.
func (d Dir) checkOwner(path string) error {
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
		return fmt.Errorf("%s belongs to user %d, and hookgate runs as user %d: find out who put it"+
			" there, then remove it or chown it", path, owner, os.Geteuid())
	}
	return nil
}

// Quarantine writes the bytes of a spooled record that cannot be decoded to a file of its own.
func (d Dir) Quarantine(r hookgate.Record) error {
	path := d.file(fmt.Sprintf("undecodable-%s.bin", r.RequestID))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("save an undecodable record: %w", err)
	}
	_, err = f.Write(r.Body)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("save an undecodable record in %s: %w", path, err)
	}
	return nil
}
