package redis

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/hookgate/hookgate"
)

// Config of a queue. Zero fields take their defaults.
type Config struct {
	// URL says where Redis is:
	//
	//	redis://[user[:password]@]host[:port][,host:port…][/db][?master=NAME][&cluster=true|false]
	//
	// rediss:// for TLS. Several hosts are nodes of a cluster, or, with master, the sentinels that
	// know the master of that name. A single host is asked whether it belongs to a cluster, unless
	// cluster says so.
	URL string
	// Cluster insists on Redis Cluster, as ?cluster=true does.
	Cluster bool
	// Prefix begins every key, so that several queues may share a Redis; default "hookgate".
	Prefix string
	// Partitions is the number of partitions; default 16. It can change only while the queue is empty.
	Partitions int
	// HighWater is the number of unreleased records at which Append returns ErrFull; default 100,000.
	HighWater int64
	// ClaimTTL is how long an identity stays claimed; default 7 days.
	ClaimTTL time.Duration
	// LeaseTTL is how long a partition stays with a process that has stopped renewing; default 5 s. On
	// a cluster make it at least four times OpTimeout, so that waiting for one node costs no lease on
	// another.
	LeaseTTL time.Duration
	// OpTimeout bounds each operation on Redis, connecting included; default 1 s.
	OpTimeout time.Duration
	// AllowEviction permits a Redis that deletes keys when its memory is full, and with them
	// acknowledged requests.
	AllowEviction bool
	// TLSCA is a PEM file of the certificates that the client trusts with rediss://; default those of
	// the system.
	TLSCA string
	// Mark, if set, returns the mark of the store that stores the records. With it the queue notices
	// that the store was replaced and ignores the old claims; see store.go.
	Mark func(context.Context) (hookgate.StoreMark, error)
	// Logger logs when Redis fails and works again, and lost leases; default none.
	Logger *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	c.Prefix = cmp.Or(c.Prefix, "hookgate")
	c.Partitions = cmp.Or(c.Partitions, 16)
	c.HighWater = cmp.Or(c.HighWater, 100_000)
	c.ClaimTTL = cmp.Or(c.ClaimTTL, 7*24*time.Hour)
	c.LeaseTTL = cmp.Or(c.LeaseTTL, 5*time.Second)
	c.OpTimeout = cmp.Or(c.OpTimeout, time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Partitions < 1 || c.HighWater < 1 || c.ClaimTTL < time.Millisecond ||
		c.LeaseTTL < 10*time.Millisecond || c.OpTimeout < 0 {
		return c, errors.New("redis queue: partitions and high water must be positive," +
			" the claims' time to live at least 1 ms, that of leases at least 10 ms")
	}
	if strings.ContainsAny(c.Prefix, "{}") {
		return c, fmt.Errorf("redis queue: prefix %q must not contain braces:"+
			" they mark what a cluster keeps together", c.Prefix)
	}
	return c, nil
}

// clientOption turns the configuration into rueidis's.
func (c Config) clientOption() (rueidis.ClientOption, error) {
	o := rueidis.ClientOption{
		Dialer: net.Dialer{Timeout: c.OpTimeout, KeepAlive: time.Second},
		// The client closes a connection that gives no answer for this long.
		ConnWriteTimeout: 2 * c.OpTimeout,
		// Without it a call that times out alone on its connection would close the connection.
		AlwaysPipelining: true,
		// The caller decides about retries, because it has a time limit of its own.
		DisableRetry: true,
		DisableCache: true,
		ClusterOption: rueidis.ClusterOption{
			ShardsRefreshInterval: time.Second,
			MaxMovedRedirections:  5,
		},
		Sentinel: rueidis.SentinelOption{TopologyRefreshInterval: time.Second},
	}
	u, hosts, err := parseURL(c.URL)
	if err != nil {
		return o, err
	}
	for _, host := range hosts {
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), "6379")
		}
		o.InitAddress = append(o.InitAddress, host)
	}
	if u.Scheme == "rediss" {
		name, _, _ := net.SplitHostPort(o.InitAddress[0]) // every address has a port here
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		if o.TLSConfig.RootCAs, err = c.trusted(); err != nil {
			return o, err
		}
		if len(hosts) == 1 {
			o.TLSConfig.ServerName = name
		}
	}
	if c.TLSCA != "" && o.TLSConfig == nil {
		return o, errors.New("certificates to trust need a redis URL that begins with rediss://")
	}
	o.Username = u.User.Username()
	o.Password, _ = u.User.Password()
	if db := strings.Trim(u.Path, "/"); db != "" {
		if o.SelectDB, err = strconv.Atoi(db); err != nil || o.SelectDB < 0 {
			return o, fmt.Errorf("redis URL: database %q is not a number", db)
		}
	}
	cluster := c.Cluster
	for key, values := range u.Query() {
		switch value := values[0]; key {
		case "master":
			o.Sentinel.MasterSet = value
			o.Sentinel.TLSConfig = o.TLSConfig
		case "cluster":
			if cluster, err = strconv.ParseBool(value); err != nil {
				return o, fmt.Errorf("redis URL: cluster=%q is neither true nor false", value)
			}
			o.ForceSingleClient = !cluster
		default:
			return o, fmt.Errorf("redis URL: unknown setting %q", key)
		}
	}
	cluster = cluster || len(hosts) > 1 && o.Sentinel.MasterSet == ""
	switch {
	case cluster && o.Sentinel.MasterSet != "":
		return o, errors.New("redis URL: a cluster has no sentinels: leave out master or cluster")
	case cluster && o.SelectDB != 0:
		return o, errors.New("redis URL: a cluster has no databases but 0")
	case o.ForceSingleClient && len(hosts) > 1:
		return o, errors.New("redis URL: several hosts are a cluster or need ?master=NAME")
	}
	return o, nil
}

// trusted returns the certificates of TLSCA; nil for those of the system.
func (c Config) trusted() (*x509.CertPool, error) {
	if c.TLSCA == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.TLSCA)
	if err != nil {
		return nil, fmt.Errorf("read certificates to trust: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", c.TLSCA)
	}
	return pool, nil
}

var errUnescaped = errors.New("redis URL cannot be read: in user and password write % / ? # and" +
	" @ as %25 %2F %3F %23 and %40")

// parseURL separates the hosts from the rest, because net/url accepts one host only. Its errors do
// not repeat the URL, which may contain a password.
func parseURL(text string) (*url.URL, []string, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme != "redis" && scheme != "rediss" {
		return nil, nil, errors.New("redis URL must begin with redis:// or rediss://")
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	path, _, _ := strings.Cut(rest[end:], "?")
	if !strings.Contains(rest[:end], "@") && strings.Contains(path, "@") {
		// part of the password would be parsed as a host, and shown in errors
		return nil, nil, errUnescaped
	}
	begin := strings.LastIndexByte(rest[:end], '@') + 1
	hosts := strings.Split(rest[begin:end], ",")
	for _, host := range hosts {
		if host == "" {
			return nil, nil, errors.New("redis URL has an empty host")
		}
		if _, port, err := net.SplitHostPort(host); err == nil && strings.Trim(port, "0123456789") != "" {
			return nil, nil, errUnescaped // for the same reason
		}
	}
	u, err := url.Parse(scheme + "://" + rest[:begin] + "host" + rest[end:])
	if err != nil {
		return nil, nil, errUnescaped // the cause may quote a part of the password
	}
	return u, hosts, nil
}
