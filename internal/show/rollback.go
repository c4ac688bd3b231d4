package show

import (
	"fmt"
	"io"
	"time"

	"github.com/hookgate/hookgate/release/rollback"
)

// Rollback prints the report of a roll-back, and what to do if it has stopped.
func Rollback(out io.Writer, r rollback.Report) error {
	if _, err := io.WriteString(out, r.Table()); err != nil || r.Next == "" {
		return err
	}
	_, err := fmt.Fprintf(out, "\nwhat to do: %s\n", r.Next)
	return err
}

// RollbackStep prints that a step begins, or how it has ended.
func RollbackStep(out io.Writer, s rollback.StepReport) {
	now := time.Now().UTC().Format("15:04:05")
	if s.State == "" {
		fmt.Fprintf(out, "%s %s …\n", now, s.Step)
		return
	}
	fmt.Fprintf(out, "%s %s %s after %v\n", now, s.Step, s.State,
		time.Duration(s.TookMS)*time.Millisecond)
}
