package config

import (
	"errors"
	"fmt"
	"time"
)

// RollbackOptions is how this gate is rolled back.
type RollbackOptions struct {
	Command         []string      `setting:"command"`
	ExpectedVersion string        `setting:"expected_version"`
	DrainTimeout    time.Duration `setting:"drain_timeout"`
	CommandTimeout  time.Duration `setting:"command_timeout"`
	HealthTimeout   time.Duration `setting:"health_timeout"`
	Goal            time.Duration `setting:"goal"`
	AllowUndrained  bool          `setting:"allow_undrained"`
	Idempotent      bool          `setting:"idempotent"`
}

var defaultRollback = RollbackOptions{
	DrainTimeout: 2 * time.Minute, CommandTimeout: 5 * time.Minute, HealthTimeout: 2 * time.Minute,
	Goal: 10 * time.Minute,
}

// check finds settings that cannot work.
func (c RollbackOptions) check() error {
	for name, d := range map[string]time.Duration{
		"drain_timeout": c.DrainTimeout, "command_timeout": c.CommandTimeout,
		"health_timeout": c.HealthTimeout, "goal": c.Goal,
	} {
		if d <= 0 {
			return fmt.Errorf("rollback.%s must be greater than zero", name)
		}
	}
	if len(c.Command) > 0 && c.Command[0] == "" {
		return errors.New("rollback.command begins with an empty word; it is a program and its arguments")
	}
	return nil
}
