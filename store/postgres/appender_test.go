package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/store/storetest"
)

// appenderURL is the environment variable that makes this test program an appender.
const appenderURL = "HOOKGATE_TEST_APPENDER"

// appender is a process that appends to a store. Its arguments are its number, how many batches it
// appends, and before the commit of which batch it waits to be frozen (-1: none). It prints the id
// and the message id of each acknowledged event.
func appender(url string, args []string) error {
	var numbers [3]int
	for i := range numbers {
		var err error
		if numbers[i], err = strconv.Atoi(args[len(args)-3+i]); err != nil {
			return err
		}
	}
	process, batches, freeze := numbers[0], numbers[1], numbers[2]
	s, err := Open(context.Background(), Config{URL: url})
	if err != nil {
		return err
	}
	defer s.Close()
	frozen := false
	for n := range batches {
		b := directBatch(process, n*3, 3)
		if n == freeze {
			s.lookUpFirst = 1 // in two round trips
			s.failCommit = func(done bool) error {
				if !done && !frozen {
					frozen = true
					fmt.Println("between")
					_, err := io.ReadFull(os.Stdin, make([]byte, 1))
					return err
				}
				return nil
			}
		}
		for {
			o, err := s.Apply(context.Background(), b)
			if errors.Is(err, hookgate.ErrRejected) {
				return err
			}
			if err != nil {
				fmt.Println("failed", err)
				continue
			}
			for i, r := range o.Results {
				fmt.Println(r.ID, b.Records[i].MessageID)
			}
			break
		}
	}
	return nil
}

// directBatch returns n events that the store takes itself, starting with event first of a process.
// Their sequence counts within the ordering key of the process.
func directBatch(process, first, n int) *hookgate.Batch {
	b := &hookgate.Batch{Worker: fmt.Sprint("process", process), Attempts: 1}
	for i := first; i < first+n; i++ {
		r := storetest.Sample(0, i)
		r.MessageID = fmt.Sprintf("%d-%d", process, i)
		r.OrderingKey, r.Keyed = fmt.Sprint("key", process), true
		r.Position, r.EnqueuedAt = hookgate.Position{}, time.Time{}
		b.Records = append(b.Records, r)
	}
	return b
}

// child is a running appender.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

func startAppender(t *testing.T, url string, process, batches, freeze int) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0], fmt.Sprint(process), fmt.Sprint(batches),
		fmt.Sprint(freeze))}
	c.cmd.Env = append(os.Environ(), appenderURL+"="+url)
	c.cmd.Stderr = os.Stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		c.stdin, err = c.cmd.StdinPipe()
	}
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	c.lines = bufio.NewScanner(out)
	t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	return c
}

// acknowledged reads the appender's output until it ends and adds it to ids, by message id. It
// returns how many appends failed.
func (c *child) acknowledged(t *testing.T, ids map[string]string) (failed int) {
	t.Helper()
	for c.lines.Scan() {
		id, message, _ := strings.Cut(c.lines.Text(), " ")
		if id == "failed" {
			failed++
			continue
		}
		ids[message] = id
	}
	if err := errors.Join(c.lines.Err(), c.cmd.Wait()); err != nil {
		t.Error(err)
	}
	return failed
}
