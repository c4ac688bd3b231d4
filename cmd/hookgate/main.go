// Command hookgate runs a webhook gate and operates running ones.
//
// Each command has its own file with its flags, help and output. Other packages do the work: gate
// runs the gate, and api calls a running one.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/hookgate/hookgate/config"
	"github.com/hookgate/hookgate/internal/signals"
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
	ctx, stop := signals.Interruptible()
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

// run executes a command line and returns its exit code.
func run(ctx context.Context, args []string) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(terminal.NewWriter(os.Stdout))
	root.SetErr(terminal.NewWriter(os.Stderr))
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = unknownCommand(command)
	}
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

// The groups of commands in the help.
const (
	groupRun     = "run"
	groupRead    = "read"
	groupOperate = "operate"
	groupRelease = "release"
	groupTry     = "try"
	groupReceive = "receive"
)

func newRootCommand() *cobra.Command {
	cobra.EnableCommandSorting = false // the order below is that of the help
	root := &cobra.Command{
		Use:   "hookgate",
		Short: "A webhook gate: answers fast, loses nothing it acknowledged, keeps order",
		Long: `hookgate receives webhooks and hands them to your application. After a 202 an event
survives a crash. It is stored once, in order, with its lineage.

  hookgate serve                                    start the gate; the first start makes keys
  hookgate generate --count 1000 | hookgate replay  send it some events
  hookgate trace MESSAGE_ID                         show what became of one

Exit codes: 0 done or PASS, 1 FAIL, 2 could not run.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run the gate:"},
		&cobra.Group{ID: groupTry, Title: "Send events:"},
		&cobra.Group{ID: groupReceive, Title: "Receive events:"},
		&cobra.Group{ID: groupRead, Title: "Read what is stored:"},
		&cobra.Group{ID: groupOperate, Title: "Operate a running gate:"},
		&cobra.Group{ID: groupRelease, Title: "Release a version:"},
	)
	root.SetHelpCommandGroupID(groupRun)
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if unknownCommand(cmd) == nil { // otherwise run prints the error
			help(cmd, args)
		}
	})
	for _, c := range []struct {
		group    string
		commands []*cobra.Command
	}{
		{groupRun, []*cobra.Command{newServeCommand(), newHealthCommand(), newDoctorCommand(),
			newMigrateCommand(), newVersionCommand()}},
		{groupTry, []*cobra.Command{newGenerateCommand(), newReplayCommand()}},
		{groupReceive, []*cobra.Command{newForwardCommand(), newPullCommand()}},
		{groupRead, []*cobra.Command{newEventsCommand(), newTraceCommand(), newSourcesCommand(),
			newAuditCommand()}},
		{groupOperate, []*cobra.Command{newMaintenanceCommand(), newDrainCommand(), newDLQCommand(),
			newSubscriptionsCommand(), newTokenCommand(), newApprovalsCommand()}},
		{groupRelease, []*cobra.Command{newCertifyCommand(), newEvidenceCommand(), newCanaryCommand(),
			newRollbackCommand()}},
	} {
		for _, command := range c.commands {
			command.GroupID = c.group
			root.AddCommand(command)
			explainArgs(command)
		}
	}
	return root
}

// explainArgs adds the usage line to errors about the number of arguments.
func explainArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return fmt.Errorf("%w; usage: %s", err, cmd.UseLine())
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		explainArgs(c)
	}
}

// unknownCommand returns an error if an argument of a group of commands, such as "dlq", names none
// of them. cobra shows the help of the group then, and reports no error.
func unknownCommand(cmd *cobra.Command) error {
	if cmd.Runnable() || cmd.Flags().NArg() == 0 {
		return nil
	}
	return fmt.Errorf("unknown command %q for %q; %s --help lists the commands", cmd.Flags().Arg(0),
		cmd.CommandPath(), cmd.CommandPath())
}

// loadConfig reads the configuration as serve does. set maps flags to the settings that they set.
func loadConfig(cmd *cobra.Command, set map[string]string) (config.Config, error) {
	given := map[string]any{}
	for flag, setting := range set {
		if f := cmd.Flags().Lookup(flag); f.Changed {
			given[setting] = f.Value.String()
		}
	}
	return config.Load(os.Environ(), given)
}

// configFlag adds the flag for the configuration file.
func configFlag(cmd *cobra.Command) {
	cmd.Flags().String("config", "", "configuration `file` (default hookgate.yaml, if it exists)")
}

// version is set for releases by -ldflags "-X main.version=…".
var version string

// versionText is the release, or the version that the Go tool recorded.
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "devel"
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintf(cmd.OutOrStdout(), "hookgate %s %s %s/%s\n", versionText(), runtime.Version(),
				runtime.GOOS, runtime.GOARCH)
		},
	}
}
