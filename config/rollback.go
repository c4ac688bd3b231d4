package config

import (
	"errors"
	"time"
)

// RollbackOptions say how hookgate rollback rolls this gate back. The gate itself does not use
// them.
type RollbackOptions struct {
	// Command is the program, with its arguments, that installs the previous version.
	Command []string `setting:"command"`
	// ExpectedVersion is the version that /api/health must report afterwards.
	ExpectedVersion string `setting:"expected_version"`
	// CommandTimeout is how long Command may take.
	CommandTimeout time.Duration `setting:"command_timeout"`
	// Idempotent says that Command may run again when its result is unknown.
	Idempotent bool `setting:"idempotent"`
}

var defaultRollback = RollbackOptions{CommandTimeout: 5 * time.Minute}

// check returns an error for an invalid setting.
func (c RollbackOptions) check() error {
	if c.CommandTimeout <= 0 {
		return errors.New("rollback.command_timeout must be greater than zero")
	}
	if len(c.Command) > 0 && c.Command[0] == "" {
		return errors.New("rollback.command begins with an empty word; write a program and its arguments")
	}
	return nil
}
