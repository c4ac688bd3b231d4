package config

import (
	"errors"
	"time"
)

// RollbackOptions say how hookgate rollback rolls this gate back. The gate itself does not use them.
type RollbackOptions struct {
	Command         []string      `setting:"command"`
	ExpectedVersion string        `setting:"expected_version"`
	CommandTimeout  time.Duration `setting:"command_timeout"`
	Idempotent      bool          `setting:"idempotent"`
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
