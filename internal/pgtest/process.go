package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// serverUser runs the servers if the tests run as root. The servers refuse to run as root.
const serverUser = "postgres"

// asServer makes a process run as serverUser if the tests run as root.
func asServer(attr *syscall.SysProcAttr) error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup(serverUser)
	if err != nil {
		return fmt.Errorf("find whom to run the server as: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("read the ids of user %s: %w", serverUser, err)
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return nil
}

// process is a running server.
type process struct {
	cmd   *exec.Cmd
	log   *serverLog
	ended chan struct{} // closed after it has ended and was waited for
}

// start starts a server and waits for the log line that says it is ready.
func start(ctx context.Context, dir, ready, program string, args ...string) (*process, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	p := &process{cmd: exec.Command(program, args...), ended: make(chan struct{})}
	p.log = &serverLog{ready: ready, seen: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, p.log, p.log
	p.cmd.WaitDelay = stopTime
	// For PostgreSQL and PgBouncer SIGQUIT is an immediate shutdown with all sessions.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Setpgid: true}
	if err := asServer(p.cmd.SysProcAttr); err != nil {
		return nil, err
	}
	started := make(chan error)
	go func() {
		// The kernel sends the signal when the thread that started the server ends, so this thread
		// must stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // the exit code does not matter: a test stopped it, or its log has the reason
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	select {
	case <-p.log.seen:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("%s ended while it started:\n%s", program, p.log)
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("%s was not ready in time: %w\n%s", program, ctx.Err(), p.log),
			p.kill())
	}
}

// stop asks the server to end and waits for it.
func (p *process) stop(signal syscall.Signal) error {
	select {
	case <-p.ended:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.cmd.Path, err)
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopTime):
		return errors.Join(fmt.Errorf("%s did not stop in time, so it was killed:\n%s", p.cmd.Path,
			p.log), p.kill())
	}
}

// kill ends the server and all its children at once. It pauses the server first, so that it starts
// no more children.
func (p *process) kill() error {
	select {
	case <-p.ended:
		return nil
	default:
	}
	pid := p.cmd.Process.Pid
	err := p.cmd.Process.Signal(syscall.SIGSTOP)
	children, readErr := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "task",
		strconv.Itoa(pid), "children"))
	err = errors.Join(err, readErr, p.cmd.Process.Kill())
	for _, child := range strings.Fields(string(children)) {
		n, convErr := strconv.Atoi(child)
		if convErr != nil {
			return fmt.Errorf("read the children of process %d: %w", pid, convErr)
		}
		// Each server process of PostgreSQL has a process group of its own.
		if killErr := syscall.Kill(n, syscall.SIGKILL); killErr != nil &&
			!errors.Is(killErr, syscall.ESRCH) {
			err = errors.Join(err, killErr)
		}
	}
	<-p.ended
	if err != nil {
		return fmt.Errorf("kill %s: %w", p.cmd.Path, err)
	}
	return nil
}

// logTail is how many bytes of a server's log are kept.
const logTail = 8 << 10

// serverLog keeps the end of a server's log and waits for one line of it.
type serverLog struct {
	ready string
	seen  chan struct{}

	mu    sync.Mutex // guards all below: another goroutine writes the server's output
	tail  []byte
	found bool
}

// Write implements io.Writer.
func (l *serverLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tail = append(l.tail, b...)
	if !l.found && bytes.Contains(l.tail, []byte(l.ready)) {
		l.found = true
		close(l.seen)
	}
	if extra := len(l.tail) - logTail; extra > 0 {
		l.tail = append(l.tail[:0], l.tail[extra:]...)
	}
	return len(b), nil
}

// String returns the end of the log.
func (l *serverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.tail)
}
