package rollback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The command must not run twice, and its result must be known even if this process is killed. So a
// shell runs the command. The shell
//
//   - waits until its process id is in the journal, and runs nothing if it never gets there;
//   - writes the exit code to a file, which Resume reads.
//
// $0 is that file.
const script = `read -r go <&3 || exit 75
exec 3<&-
"$@"
code=$?
echo "$code" >"$0.new" && mv "$0.new" "$0"
exit "$code"`

// process is a started command.
type process struct {
	PID int `json:"pid"`
	// Started is the start time as the kernel counts it. A later process can have the same id, but not
	// the same start.
	Started string `json:"started,omitempty"`
	// Status is the file with the exit code, Output the file with the output.
	Status string `json:"status"`
	Output string `json:"output"`
}

const (
	// maxOutput is how many bytes of the end of the output are reported.
	maxOutput = 2 << 10
	// commandGrace is how long a command may take to end after SIGTERM.
	commandGrace = 10 * time.Second
)

// The command has these variables in addition to the environment of this process.
const (
	IDVariable       = "HOOKGATE_ROLLBACK_ID"
	ExpectedVariable = "HOOKGATE_ROLLBACK_EXPECTED_VERSION"
	FromVariable     = "HOOKGATE_ROLLBACK_FROM_VERSION"
	// ReasonVariable has the reason of the release trigger that started the roll-back.
	ReasonVariable = "HOOKGATE_ROLLBACK_REASON"
)

// command runs the command, or finds out how an earlier run of it ended.
func (w *Playbook) command(ctx context.Context) (state, note string, err error) {
	bounded, cancel := context.WithTimeout(ctx, w.plan.Run)
	defer cancel()
	p := w.journal.find(w.id).steps[Command].process
	switch {
	case w.choices.CommandDone:
		return stateDone, "counted as done (--command-done)", nil
	case p == nil:
		return w.run(bounded)
	case w.choices.Rerun && p.runs():
		return "", "", fmt.Errorf("it still runs as process %d; it must end before it can run again",
			p.PID)
	case w.choices.Rerun:
		w.choices.Rerun = false // once
		return w.run(bounded)
	}
	return w.outcome(bounded, p)
}

// run runs the command.
func (w *Playbook) run(ctx context.Context) (state, note string, err error) {
	p, err := w.start(ctx)
	if err != nil {
		return "", "", err
	}
	return p.judge()
}

// judge returns the result of a command that has ended.
func (p *process) judge() (state, note string, err error) {
	code, err := p.exitCode()
	if err != nil {
		return "", "", fmt.Errorf("it ended without an exit code; it printed %s", p.tail())
	}
	if code != 0 {
		return "", "", fmt.Errorf("it ended with exit code %d; it printed %s", code, p.tail())
	}
	return stateDone, p.tail(), nil
}

// outcome returns the result of a command that an earlier process started.
func (w *Playbook) outcome(ctx context.Context, p *process) (state, note string, err error) {
	for p.runs() {
		if wait(ctx, poll) != nil {
			return "", "", fmt.Errorf("it still runs as process %d, which an earlier process started",
				p.PID)
		}
	}
	if _, err := p.exitCode(); err == nil {
		return p.judge()
	}
	// There is no exit code: the machine went down, or somebody killed the command.
	if s, err := w.gate.State(ctx); err == nil && s.Version == w.plan.ExpectedVersion &&
		s.Version != w.plan.FromVersion {
		return stateDone, "its result is unknown; the gate reports the expected version", nil
	}
	if w.plan.Idempotent {
		return w.run(ctx)
	}
	return "", "", fmt.Errorf("it was started, and its result is unknown; it printed %s",
		p.tail())
}

// start runs the command to its end. An error means that the command could not run or did not end
// in time.
func (w *Playbook) start(ctx context.Context) (*process, error) {
	base, err := filepath.Abs(filepath.Join(filepath.Dir(w.journal.file.Name()),
		fmt.Sprintf("rollback-%s-%d", w.id, time.Now().UnixMilli())))
	if err != nil {
		return nil, err
	}
	p := &process{Status: base + ".exit", Output: base + ".log"}
	out, err := os.OpenFile(p.Output, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create the file for its output: %w", err)
	}
	defer out.Close()
	held, release, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer release.Close()
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", script, p.Status},
		w.plan.Command...)...)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = out, out, []*os.File{held}
	cmd.Env = append(os.Environ(), IDVariable+"="+w.id, ExpectedVariable+"="+w.plan.ExpectedVersion,
		FromVariable+"="+w.plan.FromVersion)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this process and its terminal
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = commandGrace
	err = cmd.Start()
	held.Close()
	if err != nil {
		return nil, fmt.Errorf("start it: %w", err)
	}
	p.PID, p.Started = cmd.Process.Pid, startOf(cmd.Process.Pid)
	if err := w.journal.write(entry{ID: w.id, Step: Command, State: stateRunning,
		Process: p}); err != nil {
		release.Close()
		cmd.Wait()
		return nil, err
	}
	if _, err := io.WriteString(release, "go\n"); err != nil {
		return nil, errors.Join(fmt.Errorf("start it: %w", err), cmd.Wait())
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		endGroup(p.PID)
		return nil, fmt.Errorf("it was stopped before it ended (%w); it printed %s", ctx.Err(), p.tail())
	case err != nil && !errors.As(err, &exit):
		return nil, err
	}
	return p, nil
}

// endGroup waits until every process of the command's group has ended, and kills those that do not.
// If one went on, it would run beside the next run of the command.
func endGroup(pid int) {
	ctx, cancel := context.WithTimeout(context.Background(), commandGrace)
	defer cancel()
	for syscall.Kill(-pid, 0) == nil {
		if wait(ctx, poll) != nil {
			syscall.Kill(-pid, syscall.SIGKILL)
			return
		}
	}
}

// exitCode reads the file that the shell wrote.
func (p *process) exitCode() (int, error) {
	text, err := os.ReadFile(p.Status)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// tail returns the end of the output.
func (p *process) tail() string {
	f, err := os.Open(p.Output)
	if err != nil {
		return "something that cannot be read: " + err.Error()
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		f.Seek(max(0, size-maxOutput), io.SeekStart)
	}
	text, _ := io.ReadAll(io.LimitReader(f, maxOutput))
	if printed := strings.TrimSpace(strings.ToValidUTF8(string(text), "")); printed != "" {
		return printed
	}
	return "nothing"
}

// runs reports whether the process still runs.
func (p *process) runs() bool {
	if p.Started != "" {
		return startOf(p.PID) == p.Started
	}
	return syscall.Kill(p.PID, 0) == nil
}

// startOf returns the start time of a process as the kernel counts it. It is empty if the process
// does not run, is a zombie, or the system does not say.
func startOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The name of the program, in parentheses, may have any characters.
	_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}
