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

// The command must neither be run twice nor be forgotten when whoever started it is killed. So a
// shell runs it that
//
//   - waits until its own process id is in the journal (if that never comes the command is never run), and
//   - leaves the exit code in a file, which whoever resumes reads.
//
// $0 is that file.
const script = `read -r go <&3 || exit 75
exec 3<&-
"$@"
code=$?
echo "$code" >"$0.new" && mv "$0.new" "$0"
exit "$code"`

// process is a command that was started.
type process struct {
	PID int `json:"pid"`
	// Started is when, in the kernel's own count: the same id can be another process later.
	Started string `json:"started,omitempty"`
	// Status is the file with its exit code, and Output that with what it printed.
	Status string `json:"status"`
	Output string `json:"output"`
}

const (
	// maxOutput is how much of the end of the command's output is told.
	maxOutput = 2 << 10
	// commandGrace is how long a command may take to end that has been told to.
	commandGrace = 10 * time.Second
)

// The environment of the command, beside that of whoever walks.
const (
	IDVariable       = "HOOKGATE_ROLLBACK_ID"
	ExpectedVariable = "HOOKGATE_ROLLBACK_EXPECTED_VERSION"
	FromVariable     = "HOOKGATE_ROLLBACK_FROM_VERSION"
)

// command runs the command, or finds out what came of it.
func (w *Walk) command(ctx context.Context) (state, note string, err error) {
	bounded, cancel := context.WithTimeout(ctx, w.plan.Run)
	defer cancel()
	p := w.journal.find(w.id).steps[Command].process
	switch {
	case w.choices.CommandDone:
		return stateDone, "taken for done, as told", nil
	case p == nil:
		return w.run(bounded)
	case w.choices.Rerun && p.runs():
		return "", "", fmt.Errorf("it still runs as process %d: it must have ended before it is run again", p.PID)
	case w.choices.Rerun:
		w.choices.Rerun = false // once
		return w.run(bounded)
	}
	return w.outcome(bounded, p)
}

// run runs the command.
func (w *Walk) run(ctx context.Context) (state, note string, err error) {
	p, err := w.start(ctx)
	if err != nil {
		return "", "", err
	}
	return p.judge()
}

// judge says what a command that has ended came to.
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

// outcome says what became of a command that an earlier walk started.
func (w *Walk) outcome(ctx context.Context, p *process) (state, note string, err error) {
	for p.runs() {
		if wait(ctx, poll) != nil {
			return "", "", fmt.Errorf("it still runs as process %d, begun by an earlier walk", p.PID)
		}
	}
	if _, err := p.exitCode(); err == nil {
		return p.judge()
	}
	// The machine went down, or somebody killed it.
	if s, err := w.gate.State(ctx); err == nil && s.Version == w.plan.ExpectedVersion &&
		s.Version != w.plan.FromVersion {
		return stateDone, "what came of it is not known; the gate reports the expected version", nil
	}
	if w.plan.Idempotent {
		return w.run(ctx)
	}
	return "", "", fmt.Errorf("it was begun, and what came of it is not known; it printed %s",
		p.tail())
}

// start runs the command to its end. An error means that it could not be run or did not end in
// time.
func (w *Walk) start(ctx context.Context) (*process, error) {
	base, err := filepath.Abs(filepath.Join(filepath.Dir(w.journal.file.Name()),
		fmt.Sprintf("rollback-%s-%d", w.id, time.Now().UnixMilli())))
	if err != nil {
		return nil, err
	}
	p := &process{Status: base + ".exit", Output: base + ".log"}
	out, err := os.OpenFile(p.Output, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep its output: %w", err)
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
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives whoever walks, and his terminal
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
		return nil, fmt.Errorf("it was ended before it was done (%w); it printed %s", ctx.Err(), p.tail())
	case err != nil && !errors.As(err, &exit):
		return nil, err
	}
	return p, nil
}

// endGroup waits for the end of everything that a command has started and told to end, the shell
// being the first, and kills what does not: it would go on beside the command that is run again.
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

// exitCode reads what the shell has left.
func (p *process) exitCode() (int, error) {
	text, err := os.ReadFile(p.Status)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// tail is the end of what the command printed.
func (p *process) tail() string {
	f, err := os.Open(p.Output)
	if err != nil {
		return "nothing that can be read: " + err.Error()
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

// runs reports whether the process is still there.
func (p *process) runs() bool {
	if p.Started != "" {
		return startOf(p.PID) == p.Started
	}
	return syscall.Kill(p.PID, 0) == nil
}

// startOf returns when a process started, in the kernel's own count, and empty if it is not there,
// is a zombie, or the system does not tell.
func startOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The name of the program, in parentheses, may hold anything.
	_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}
