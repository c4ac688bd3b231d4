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

// Durability is what the settings of Redis make of a 202.
type Durability struct {
	// Hidden says that the server does not show its settings; the fields below are then empty.
	Hidden          bool
	AppendOnly      bool
	AppendFsync     string
	MaxMemory       int64 // bytes; 0 for no limit
	MaxMemoryPolicy string
	// Replicas is the number of servers that follow the one asked, without being waited for.
	Replicas int
	// Evicts says that the policy lets Redis throw away keys of this queue.
	Evicts bool
	// Worth says in one line what a 202 is worth.
	Worth string
	// Warnings are texts for whoever runs the gate.
	Warnings []string
}

// Durability returns what was found when the queue was opened. Of the masters of a cluster the
// least counts.
func (q *Queue) Durability() Durability { return q.worth }

// readDurability asks every master for its version and its settings.
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
		d.Replicas, _ = strconv.Atoi(infoField(info, "connected_slaves")) // none if it does not tell
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

// nodeSettings reads the settings that durability depends on; nil if the server does not show them.
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

// rank orders durabilities from nothing known to everything kept.
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
		d.Worth = "a 202 is worth what Redis keeps, which it does not show (CONFIG is hidden)"
		d.Warnings = append(d.Warnings,
			"CONFIG is hidden: make sure of appendonly yes, appendfsync always or everysec,"+
				" and maxmemory-policy noeviction")
	case 1:
		d.Worth = "a 202 does not survive a crash of Redis (appendonly no)"
		d.Warnings = append(d.Warnings,
			"appendonly is no: a crash of Redis loses what was acknowledged since its last snapshot")
	case 2:
		d.Worth = "a 202 survives a crash of Redis, and of its machine but for what the kernel had not written," +
			" about the last 30 seconds (appendonly yes, appendfsync no)"
		d.Warnings = append(d.Warnings,
			"appendfsync is no: a crash of its machine loses about the last 30 seconds")
	case 3:
		d.Worth = "a 202 survives a crash of Redis, and of its machine but for the last second (appendonly yes, appendfsync everysec)"
	case 4:
		d.Worth = "a 202 survives a crash of Redis and of its machine (appendonly yes, appendfsync always)"
	}
	if d.Replicas > 0 {
		d.Worth += "; a failover to a replica loses what that had not yet received"
	}
	if d.Evicts {
		d.Warnings = append(d.Warnings, "maxmemory-policy is "+d.MaxMemoryPolicy+
			": when memory is full, Redis throws away what was acknowledged")
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

// checkVersion refuses what cannot run the scripts. A server that does not tell is tried.
func checkVersion(version string) error {
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err == nil && n < 7 {
		return misconfigured(reasonVersion, fmt.Errorf("it is version %s, and 7.0 or newer is needed", version))
	}
	return nil
}
