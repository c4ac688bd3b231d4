package redis

import (
	"crypto/tls"
	"errors"
	"slices"
	"strings"

	"github.com/redis/rueidis"

	"github.com/hookgate/hookgate"
)

// The reasons of a hookgate.MisconfiguredError.
const (
	reasonSettings   = "the settings of Redis are invalid"
	reasonRejected   = "Redis rejects this gate: user, password, rights or another setting is wrong"
	reasonTrust      = "the certificate of Redis is not trusted"
	reasonVersion    = "Redis is too old"
	reasonEvicts     = "Redis may delete acknowledged events (maxmemory-policy)"
	reasonPartitions = "Redis has another number of partitions"
)

// misconfigured makes a hookgate.MisconfiguredError.
func misconfigured(reason string, err error) error {
	return &hookgate.MisconfiguredError{Reason: reason, Err: err}
}

// passing are the first words of the answers of Redis that mean "not now".
var passing = []string{"LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK",
	"READONLY", "OOM", "BUSY", "MISCONF", "NOREPLICAS"}

// judge returns err as a hookgate.MisconfiguredError if it does not pass by itself.
func judge(err error) error {
	var already *hookgate.MisconfiguredError
	if errors.As(err, &already) {
		return misconfigured(already.Reason, err)
	}
	var reply *rueidis.RedisError
	if errors.As(err, &reply) && !reply.IsNil() {
		word, rest, _ := strings.Cut(reply.Error(), " ")
		if slices.Contains(passing, word) || strings.HasPrefix(rest, "max number of clients") {
			return err
		}
		return misconfigured(reasonRejected, err)
	}
	var untrusted *tls.CertificateVerificationError
	var noTLS tls.RecordHeaderError
	if errors.As(err, &untrusted) || errors.As(err, &noTLS) {
		return misconfigured(reasonTrust, err)
	}
	return err
}
