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

// Dir is the folder that holds everything the gate must not lose.
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
type Dir string

func (d Dir) QueueFile() string     { return filepath.Join(string(d), "queue.db") }
func (d Dir) SpoolFile() string     { return filepath.Join(string(d), "spool.db") }
func (d Dir) ModeFile() string      { return filepath.Join(string(d), "mode") }
func (d Dir) StoreModeFile() string { return filepath.Join(string(d), "store-mode") }
func (d Dir) CanaryFile() string    { return filepath.Join(string(d), "canary") }
func (d Dir) StoreFile() string     { return filepath.Join(string(d), "store.db") }
func (d Dir) AuditFile() string     { return filepath.Join(string(d), "audit-failed") }
func (d Dir) EvidenceDir() string   { return filepath.Join(string(d), "evidence") }
func (d Dir) KeyDir() string        { return filepath.Join(string(d), "keys") }
func (d Dir) KeyFile(name string) string {
	return filepath.Join(d.KeyDir(), name)
}

// Names of the keys.
const (
	BearerKey  = "bearer_key"
	HMACSecret = "hmac_secret"
	AdminToken = "admin_token"
)

// Lock is held while a process uses the folder. The kernel drops it when the process ends,
// however it ends.
type Lock struct{ file *os.File }

// lock creates the folder if need be and takes its lock. If another process has it, the error says
// which.
func (d Dir) Lock() (*Lock, error) {
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
	l := &Lock{f}
	return l, l.Note("starting")
}

// checkFiles refuses files and links of strangers where the gate keeps what it must not lose.
func (d Dir) checkFiles() error {
	paths := []string{filepath.Join(string(d), "hookgate.lock"), d.ModeFile(), d.StoreModeFile(),
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

// note writes who holds the lock into its file, for the error message of the next who wants it.
func (l *Lock) Note(what string) error {
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

// Close gives the folder free.
func (l *Lock) Close() error { return l.file.Close() }

// key returns the key with the given name, after making it if there is none.
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

// mode returns the mode that was kept in a file, or the normal one if none was.
func (d Dir) Mode(path string) (control.Mode, error) {
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
func (d Dir) KeepMode(path string, m control.Mode) error {
	if kept, err := d.Mode(path); err == nil && kept == m {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
	}
	if err := WriteDurably(path, []byte(m+"\n")); err != nil {
		return fmt.Errorf("keep mode %s for the next start: %w", m, err)
	}
	return nil
}

// auditFailed reports whether the last verification of the audit chain, by this gate or a command,
// found a break.
func (d Dir) AuditFailed() bool {
	_, err := os.Stat(d.AuditFile())
	return err == nil
}

// keepAudit notes whether a verification found a break, for every process that uses the folder.
// Without a folder there is none.
func (d Dir) KeepAudit(broken error) error {
	if _, err := os.Stat(string(d)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if broken == nil {
		if err := os.Remove(d.AuditFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("note that the audit chain holds: %w", err)
		}
		return nil
	}
	text := time.Now().UTC().Format(time.RFC3339) + " " + broken.Error() + "\n"
	if err := WriteDurably(d.AuditFile(), []byte(text)); err != nil {
		return fmt.Errorf("note that the audit chain is broken: %w", err)
	}
	return nil
}

// canary returns the canary that was kept, or the one that nobody has set.
func (d Dir) Canary() (control.Canary, error) {
	text, err := os.ReadFile(d.CanaryFile())
	if errors.Is(err, fs.ErrNotExist) {
		return control.Canary{}, nil
	} else if err != nil {
		return control.Canary{}, fmt.Errorf("read the canary that was in effect last: %w", err)
	}
	c, err := control.ParseCanary(strings.TrimSpace(string(text)))
	if err != nil {
		return c, fmt.Errorf("%s: %w; delete it, and Redis or PostgreSQL alone tells", d.CanaryFile(),
			err)
	}
	return c, nil
}

// keepCanary keeps a canary for the next start.
func (d Dir) KeepCanary(c control.Canary) error {
	if kept, err := d.Canary(); err == nil && kept == c {
		return nil
	}
	if err := WriteDurably(d.CanaryFile(), []byte(c.String()+"\n")); err != nil {
		return fmt.Errorf("keep canary of %d percent for the next start: %w", c.Percent, err)
	}
	return nil
}

// WriteDurably writes a file that only its owner may read: under another name, fsync, rename, fsync
// of the folder. After a power cut there is the whole file or none. What stands under the other
// name is left over from a crash, or a link that must not be followed.
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

// SyncDir makes the names in a folder durable.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// readKey reads the key with the given name. A key that somebody else has put there is refused: a
// folder that others may write to is no reason to take theirs.
func (d Dir) ReadKey(name string) (string, error) {
	path := d.KeyFile(name)
	for _, p := range []string{d.KeyDir(), path} {
		if err := d.checkOwner(p); err != nil {
			return "", err
		}
	}
	return secret.ReadFile(path)
}

// checkOwner refuses a file, folder or link in the data directory that belongs to a stranger. Those
// who may own it are this user, root, and the owner of the data directory, who could do anything
// there.
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
		return fmt.Errorf("%s belongs to user %d, who is neither the one that runs hookgate (%d) nor the owner of %s:"+
			" find out who put it there, and remove it or chown it", path, owner, os.Geteuid(), d)
	}
	return nil
}

// RollbackStamp says when the guard last started a roll-back, and RollbackLog has what the command
// printed.
func (d Dir) RollbackStamp() string { return filepath.Join(string(d), "guard-rollback") }
func (d Dir) RollbackLog() string   { return filepath.Join(string(d), "release-rollback.log") }

// Quarantine keeps the raw bytes of a spooled record that cannot be decoded in a file of its own.
func (d Dir) Quarantine(r hookgate.Record) error {
	path := filepath.Join(string(d), fmt.Sprintf("undecodable-%s.bin", r.RequestID))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("put an undecodable delivery aside: %w", err)
	}
	_, err = f.Write(r.Body)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("put an undecodable delivery aside in %s: %w", path, err)
	}
	return nil
}
