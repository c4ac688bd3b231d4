package consume

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/signals"
)

const (
	// maxLine bounds the line of standard error that becomes a reason, in bytes.
	maxLine = 500
	// lingering is how long a command's own children may hold its output open after its end.
	lingering = 2 * time.Second
)

// Command is a shell command that works on batches: one process for each.
type Command struct {
	Line           string
	Stdout, Stderr io.Writer
}

// Work runs the command with the events on its standard input, one JSON object per line. An exit
// code other than 0 is a *FailedError.
//
// The command has a process group of its own, so that Ctrl-C does not end it: a batch is finished.
// A second signal ends it.
func (c *Command) Work(events []api.PulledEvent) error {
	var input bytes.Buffer
	for lines := json.NewEncoder(&input); len(events) > 0; events = events[1:] {
		if err := lines.Encode(events[0]); err != nil {
			return fmt.Errorf("encode an event: %w", err)
		}
	}
	last := &lastLine{to: c.Stderr}
	cmd := exec.Command("sh", "-c", c.Line)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &input, c.Stdout, last
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = lingering
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the command: %w", err)
	}
	defer signals.BeforeExit(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })()
	err := cmd.Wait()
	if _, exited := errors.AsType[*exec.ExitError](err); !exited {
		// ErrWaitDelay: a child in the background holds the output open. The command itself succeeded.
		if errors.Is(err, exec.ErrWaitDelay) {
			return nil
		}
		return err
	}
	reason := cmd.ProcessState.String() // such as "signal: killed"
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		reason = fmt.Sprint("exit code ", code)
	}
	if line := last.text(); line != "" {
		reason += ": " + line
	}
	return &FailedError{reason}
}

// lastLine passes on a text and remembers its last line that is not empty.
type lastLine struct {
	to         io.Writer
	line, full []byte // the line that is being written, and the last complete one
}

// Write implements io.Writer.
func (l *lastLine) Write(p []byte) (int, error) {
	for part := range bytes.Lines(p) {
		whole := bytes.HasSuffix(part, []byte("\n"))
		if room := maxLine - len(l.line); room > 0 {
			l.line = append(l.line, part[:min(room, len(part))]...)
		}
		if whole {
			if len(bytes.TrimSpace(l.line)) > 0 {
				l.full = append(l.full[:0], l.line...)
			}
			l.line = l.line[:0]
		}
	}
	return l.to.Write(p)
}

func (l *lastLine) text() string {
	text := l.full
	if len(bytes.TrimSpace(l.line)) > 0 {
		text = l.line
	}
	return strings.ToValidUTF8(strings.TrimSpace(string(text)), "\uFFFD")
}
