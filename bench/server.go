package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a process that takes webhooks.
type server struct {
	cmd *exec.Cmd
	url string
	// stores says that accepted events are stored later, by this process or another.
	stores bool
	// profilePath is the file for the CPU profile of its flat-out run; empty: none.
	profilePath string
}

var listensOn = regexp.MustCompile(`listens on (\S+)`)

// start starts a server with more environment variables and waits until it prints its address.
func start(ctx context.Context, command, env []string) (*server, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(append(os.Environ(), "WEBHOOK_HMAC_SECRET="+secret, "ADMIN_TOKEN="+adminToken,
		"HOOKGATE_LOG_LEVEL=warn"), env...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd, stores: command[1] == "serve"}
	for _, setting := range env {
		if path, ok := strings.CutPrefix(setting, "BENCH_CPU_PROFILE="); ok {
			s.profilePath = path
		}
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := listensOn.FindStringSubmatch(lines.Text()); m != nil {
			go io.Copy(io.Discard, out)
			s.url = "http://" + m[1]
			return s, nil
		}
	}
	return nil, fmt.Errorf("%s ended before it listened: %w", command[0], cmd.Wait())
}

func (s *server) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	s.cmd.Wait()
}

// kill ends the process with SIGKILL.
func (s *server) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

var errNotDrained = errors.New("the queue does not drain")

// drained waits until every accepted event is stored.
func (s *server) drained(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Minute, errNotDrained)
	defer cancel()
	return waitUntil(ctx, func() (bool, error) {
		depth, err := s.depth(ctx)
		return depth == 0, err
	})
}

// waitUntil calls ask every few milliseconds until it returns true or an error.
func waitUntil(ctx context.Context, ask func() (bool, error)) error {
	for ctx.Err() == nil {
		if yes, err := ask(); yes || err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return context.Cause(ctx)
}

// memory reads a line of /proc/PID/status, in MiB.
func (s *server) memory(name string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), name+":")
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseFloat(kib, 64)
	return n / 1024, err
}

// profile starts a CPU profile of the server. end stops it.
func (s *server) profile(ctx context.Context) (end func() error, err error) {
	if s.profilePath == "" {
		return func() error { return nil }, nil
	}
	end = func() error {
		if err := s.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			return err
		}
		for ctx.Err() == nil {
			if _, err := os.Stat(s.profilePath); err == nil {
				return nil
			}
			time.Sleep(10 * time.Millisecond)
		}
		return ctx.Err()
	}
	return end, s.cmd.Process.Signal(syscall.SIGUSR1)
}
