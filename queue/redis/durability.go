package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// Durability says what a 202 survives, as the settings of Redis promise it.
type Durability struct {
	// Hidden reports whether the server hides its settings; then the fields below are empty.
	Hidden          bool
	AppendOnly      bool
	AppendFsync     string
	MaxMemory       int64 // bytes; 0 for no limit
	MaxMemoryPolicy string
	// Replicas is the number of replicas. Redis does not wait for them.
	Replicas int
	// Evicts reports whether the policy lets Redis delete keys of this queue.
	Evicts bool
	// Worth says in one line what a 202 is worth.
	Worth string
	// Warnings are for the person who runs the gate.
	Warnings []string
}

// Durability returns the durability at the time when the queue was opened. On a cluster it is that
// of the weakest master.
func (q *Queue) Durability() Durability { return q.worth }

// readDurability reads the version and the settings of every master.
func (q *Queue) readDurability(ctx context.Context) (Durability, error) {
	var least Durability
	found := false
	ctx, cancel := context.WithTimeout(ctx, 3*q.opts.OpTimeout) // an operation of each kind
	defer cancel()
	for addr, node := range q.client.Nodes() {
		info, err := node.Do(ctx, node.B().Arbitrary("INFO").Build()).ToString()
		if err != nil {
			return least, fmt.Errorf("ask %s what it is: %w", addr, q.explain(ctx, err))
		}
		if infoField(info, "role") == "slave" {
			continue
		}
		if err := checkVersion(infoField(info, "redis_version")); err != nil {
			return least, err
		}
		d, err := q.nodeDurability(ctx, node)
		if err != nil {
			return least, fmt.Errorf("ask %s for its settings: %w", addr, err)
		}
		d.Replicas, _ = strconv.Atoi(infoField(info, "connected_slaves")) // 0 if INFO lacks it
		d.Replicas = max(d.Replicas, least.Replicas)
		d.Evicts = d.Evicts || least.Evicts
		if found && d.rank() > least.rank() {
			least.Replicas, least.Evicts = d.Replicas, d.Evicts
			continue
		}
		least, found = d, true
	}
	if !found {
		return least, errors.New("no master among its nodes")
	}
	least.judge()
	return least, nil
}

// nodeSettings reads the settings that durability depends on; nil if the server hides them.
func nodeSettings(ctx context.Context, node rueidis.Client) (map[string]string, error) {
	settings := map[string]string{}
	for _, pattern := range []string{"append*", "maxmemory*"} {
		some, err := node.Do(ctx, node.B().Arbitrary("CONFIG", "GET", pattern).Build()).AsStrMap()
		if _, refused := rueidis.IsRedisErr(err); refused {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		maps.Copy(settings, some)
	}
	return settings, nil
}

func (q *Queue) nodeDurability(ctx context.Context, node rueidis.Client) (Durability, error) {
	settings, err := nodeSettings(ctx, node)
	if err != nil {
		return Durability{}, q.explain(ctx, err)
	}
	if settings == nil {
		return Durability{Hidden: true}, nil
	}
	d := Durability{
		AppendOnly:      settings["appendonly"] == "yes",
		AppendFsync:     settings["appendfsync"],
		MaxMemoryPolicy: settings["maxmemory-policy"],
	}
	d.MaxMemory, _ = strconv.ParseInt(settings["maxmemory"], 10, 64) // Redis writes a number
	// Without a limit nothing is evicted today, but the limit can be set at any time.
	d.Evicts = d.MaxMemoryPolicy != "" && d.MaxMemoryPolicy != "noeviction"
	return d, nil
}

// rank orders durabilities, the weakest first. Hidden settings rank lowest.
func (d Durability) rank() int {
	switch {
	case d.Hidden:
		return 0
	case !d.AppendOnly:
		return 1
	case d.AppendFsync == "always":
		return 4
	case d.AppendFsync == "everysec":
		return 3
	}
	return 2
}

// judge fills in the texts.
func (d *Durability) judge() {
	switch d.rank() {
	case 0:
		d.Worth = "a 202 is worth what Redis keeps, which is unknown (CONFIG is hidden)"
		d.Warnings = append(d.Warnings,
			"CONFIG is hidden: check that appendonly is yes, appendfsync always or everysec,"+
				" and maxmemory-policy noeviction")
	case 1:
		d.Worth = "a 202 does not survive a crash of Redis (appendonly no)"
		d.Warnings = append(d.Warnings,
			"appendonly is no: a crash of Redis loses the events acknowledged since its last snapshot")
	case 2:
		d.Worth = "a 202 survives a crash of Redis; a crash of its machine loses about the last" +
			" 30 seconds (appendonly yes, appendfsync no)"
		d.Warnings = append(d.Warnings,
			"appendfsync is no: a crash of its machine loses about the last 30 seconds")
	case 3:
		d.Worth = "a 202 survives a crash of Redis; a crash of its machine loses the last second" +
			" (appendonly yes, appendfsync everysec)"
	case 4:
		d.Worth = "a 202 survives a crash of Redis and of its machine (appendonly yes," +
			" appendfsync always)"
	}
	if d.Replicas > 0 {
		d.Worth += "; a failover to a replica loses the events that it had not received"
	}
	if d.Evicts {
		d.Warnings = append(d.Warnings, "maxmemory-policy is "+d.MaxMemoryPolicy+
			": when memory is full, Redis deletes acknowledged events")
	}
}

// infoField returns the value of a field in the answer to INFO.
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return value
		}
	}
	return ""
}

// checkVersion rejects a version that cannot run the scripts. It accepts an unknown version.
func checkVersion(version string) error {
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err == nil && n < 7 {
		return misconfigured(reasonVersion, fmt.Errorf("it is version %s; hookgate needs 7.0 or newer",
			version))
	}
	return nil
}
