package gate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/datadir"
	"github.com/hookgate/hookgate/release/rollback"
)

// launcher starts the roll-back command of the release triggers. The command runs in a session of
// its own with its output in a file, so that it outlives the gate. The time of the start is kept on
// disk, so that the gate does not roll back again after the roll-back has restarted it.
type launcher struct {
	command  []string
	cooldown time.Duration
	dir      datadir.Dir

	mu sync.Mutex // held during start, so that there is one at a time
}

// start starts the command and returns a description of the process. It calls ended with the result
// of the command. During the cool-down after an earlier start it returns an error.
func (l *launcher) start(id hookgate.RequestID, reason string,
	ended func(error)) (description string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, err := l.last()
	if err != nil {
		return "", err
	}
	// A time more than the cool-down ahead comes from a clock that was wrong. It must not prevent
	// roll-backs until then.
	if next := last.Add(l.cooldown); time.Until(next) > 0 && time.Until(last) < l.cooldown {
		return "", fmt.Errorf("a roll-back started at %s; the gate starts the next one at %s at the"+
			" earliest",
			last.Format(time.RFC3339), next.Format(time.RFC3339))
	}
	if err := datadir.WriteDurably(l.dir.RollbackStamp(),
		[]byte(time.Now().UTC().Format(time.RFC3339Nano)+"\n")); err != nil {
		return "", fmt.Errorf("save the time of the roll-back: %w", err)
	}
	cmd, err := l.run(id, reason)
	if err != nil {
		return "", errors.Join(err, os.Remove(l.dir.RollbackStamp()))
	}
	go func() { ended(cmd.Wait()) }()
	return fmt.Sprintf("%s runs as process %d, output in %s", strings.Join(l.command, " "),
		cmd.Process.Pid, l.dir.RollbackLog()), nil
}

// run starts the command in a session of its own.
func (l *launcher) run(id hookgate.RequestID, reason string) (*exec.Cmd, error) {
	out, err := os.OpenFile(l.dir.RollbackLog(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the file for the output of the roll-back command: %w", err)
	}
	defer out.Close()
	cmd := exec.Command(l.command[0], l.command[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), rollback.IDVariable+"="+id.String(), rollback.ReasonVariable+"="+
		reason)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the roll-back command: %w", err)
	}
	return cmd, nil
}

// last returns when a gate with this data directory last started a roll-back; zero if never.
func (l *launcher) last() (time.Time, error) {
	text, err := os.ReadFile(l.dir.RollbackStamp())
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	} else if err != nil {
		return time.Time{}, fmt.Errorf("read the time of the last roll-back: %w", err)
	}
	last, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(text)))
	if err != nil {
		return time.Time{}, fmt.Errorf("%s does not hold a time; delete it to allow the next roll-back"+
			" at once",
			l.dir.RollbackStamp())
	}
	return last, nil
}
