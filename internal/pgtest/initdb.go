package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// initialize makes the data folder of a cluster. A copy takes a tenth of the processor time of
// initdb, so initdb runs once for each version of PostgreSQL, and all clusters have the same system
// identifier. Outside of the repository initdb runs for each cluster.
func (c *Cluster) initialize(ctx context.Context) error {
	cache, err := cacheDir()
	if err != nil {
		return c.initdb(ctx)
	}
	version, err := exec.CommandContext(ctx, filepath.Join(c.bin, "initdb"), "--version").Output()
	if err != nil {
		return fmt.Errorf("initdb --version: %w", err)
	}
	fields := bytes.Fields(version) // initdb (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)
	if len(fields) < 3 {
		return fmt.Errorf("initdb --version: %q has no version", version)
	}
	template := filepath.Join(cache, fmt.Sprintf("initdb-%s-%d", fields[2], os.Getuid()))
	switch err := copyFolder(ctx, template, c.data()); {
	case errors.Is(err, fs.ErrNotExist):
	default:
		return err
	}
	if err := c.initdb(ctx); err != nil {
		return err
	}
	// Other processes see the whole template or none. The first process to finish one wins.
	unfinished, err := os.MkdirTemp(cache, "initdb-unfinished-")
	if err != nil {
		return fmt.Errorf("keep the files of initdb: %w", err)
	}
	defer os.RemoveAll(unfinished)
	made := filepath.Join(unfinished, "data")
	if err := copyFolder(ctx, c.data(), made); err != nil {
		return err
	}
	if err := os.Rename(made, template); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keep the files of initdb: %w", err)
	}
	return nil
}

// initdb makes the data folder of a cluster from nothing.
func (c *Cluster) initdb(ctx context.Context) error {
	initdb := exec.CommandContext(ctx, filepath.Join(c.bin, "initdb"), "--pgdata", c.data(),
		"--username", superuser, "--auth", "trust",
		"--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync")
	initdb.Dir = c.dir
	initdb.SysProcAttr = &syscall.SysProcAttr{}
	if err := asServer(initdb.SysProcAttr); err != nil {
		return err
	}
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// copyFolder copies a folder, with owners and modes, to a path that does not exist.
func copyFolder(ctx context.Context, from, to string) error {
	if _, err := os.Stat(from); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", from, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy %s: %w\n%s", from, err, out)
	}
	return nil
}

// cacheDir returns the folder .cache of the repository, which make clean removes. The working
// directory of a test is in the repository.
func cacheDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "internal", "pgtest")); err == nil {
			cache := filepath.Join(dir, ".cache")
			return cache, os.MkdirAll(cache, 0o755)
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("the working directory is not in the repository")
		}
		dir = filepath.Dir(dir)
	}
}
