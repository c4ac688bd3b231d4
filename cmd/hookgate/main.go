// Command hookgate is a webhook gate: it acknowledges a webhook when it is on disk, and stores it
// in order, once, with its lineage.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hookgate/hookgate/internal/terminal"
	"github.com/spf13/cobra"
)

// Exit codes: 0 done or PASS, 1 FAIL, 2 could not run.
const (
	exitFail     = 1
	exitNoResult = 2
)

// exitError is an error that decides the exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func main() {
	ctx, stop := interruptible()
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

// run executes a command line and returns its exit code.
func run(ctx context.Context, args []string) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(terminal.NewWriter(os.Stdout))
	root.SetErr(terminal.NewWriter(os.Stderr))
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(root.ErrOrStderr(), "hookgate:", err)
	var exit *exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	return exitNoResult
}

// interruptible returns a context that ends with the first SIGINT or SIGTERM. A second one ends the
// process at once.
func interruptible() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(128 + int(syscall.SIGTERM))
	}()
	return ctx, cancel
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "hookgate",
		Short: "A webhook gate: acknowledged means on disk, stored once, in order, with lineage",
		Long: `hookgate takes signed webhooks, answers 202 when each is on disk, and stores
them in order, once, with their lineage.

  hookgate serve                               start the gate; keys are made on the first start
  hookgate generate --count 1000 | hookgate replay    send it some events
  hookgate trace MESSAGE_ID                    see what became of one`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		newServeCommand(),
		newGenerateCommand(),
		newReplayCommand(),
		newEventsCommand(),
		newTraceCommand(),
		newSourcesCommand(),
		newSendCommand(),
		newMaintenanceCommand(),
		newCanaryCommand(),
		newPromoteCommand(),
		newDrainCommand(),
		newRollbackCommand(),
		newDLQCommand(),
		newTokenCommand(),
		newApprovalsCommand(),
		newApproveCommand(),
		newDenyCommand(),
		newAuditCommand(),
		newCertifyCommand(),
		newEvidenceCommand(),
		newRecordCommand(),
		newMigrateCommand(),
		newHealthCommand(),
		newDoctorCommand(),
		newVersionCommand(),
	)
	return root
}
