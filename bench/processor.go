package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// usage is processor time (user and system) of each party: the server, the client (this process),
// Redis, and all processes of PostgreSQL. Unlike the elapsed time it hardly depends on the load of
// the machine.
type usage map[string]time.Duration

// parties are the keys of a usage, in the order of the columns.
var parties = []string{"server", "client", "redis", "postgres"}

// usageOf reads the processor time that the processes of a stand, its backends and this process
// have used so far.
func usageOf(st *stand) (usage, error) {
	u := usage{}
	var self syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		return nil, fmt.Errorf("getrusage: %w", err)
	}
	u["client"] = time.Duration(self.Utime.Nano() + self.Stime.Nano())
	all, err := processes()
	if err != nil {
		return nil, err
	}
	for _, s := range st.processes() {
		u["server"] += all[s.cmd.Process.Pid].used
	}
	if b := st.backends; b != nil {
		if b.redis != nil {
			u["redis"] = all[b.redis.Process.Pid].used
		}
		u["postgres"] = all.family(b.postgres.PID())
	}
	return u, nil
}

// since returns the usage after an earlier reading, in µs per event, for n events.
func (u usage) since(before usage, n int) map[string]float64 {
	each := map[string]float64{}
	for party, used := range u {
		each[party] = float64((used - before[party]).Microseconds()) / float64(n)
	}
	return each
}

// process has the relevant fields of /proc/PID/stat.
type process struct {
	parent int
	used   time.Duration // with its children that have ended
}

type processTable map[int]process

// tick is the unit of the times in /proc/PID/stat. It is the same on all machines.
const tick = 10 * time.Millisecond

func processes() (processTable, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := processTable{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the process has ended meanwhile
		}
		pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
		// The name, in brackets, may contain any character. After it come the state, the parent, …, and
		// as 12th to 15th field the times.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(fields) < 15 {
			return nil, fmt.Errorf("%s reads %q", path, text)
		}
		var p process
		p.parent, _ = strconv.Atoi(fields[1])
		for _, field := range fields[11:15] {
			n, _ := strconv.ParseInt(field, 10, 64)
			p.used += time.Duration(n) * tick
		}
		all[pid] = p
	}
	return all, nil
}

// family returns the sum of a process and its children.
func (all processTable) family(pid int) time.Duration {
	sum := all[pid].used
	for _, p := range all {
		if p.parent == pid {
			sum += p.used
		}
	}
	return sum
}
