package push

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/deliver/egress"
)

// ownErrors are errors of this machine or its network. The consumer may well be up.
var ownErrors = []error{
	syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, // no route
	syscall.EADDRNOTAVAIL, // no local port is free
	syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
	syscall.EACCES, syscall.EPERM, // a local firewall
	syscall.EAFNOSUPPORT, // an IPv6 address, and no IPv6
}

// failure returns the answer for an attempt without a response. ctx is the caller's context, and
// attempt the one with the time-out.
func (c *Consumer) failure(ctx, attempt context.Context, err error) hookgate.Answer {
	var (
		refused *egress.RefusedError
		lookUp  *net.DNSError
	)
	verdict, reason := hookgate.VerdictOutage, err.Error()
	switch {
	case ctx.Err() != nil:
		return hookgate.Answer{Verdict: hookgate.VerdictInterrupted, Reason: "interrupted"}
	case attempt.Err() != nil:
		reason = fmt.Sprintf("no answer within %v", c.timeout)
	case errors.As(err, &refused):
		verdict, reason = hookgate.VerdictFailed, "not sent: "+refused.Error()
	case errors.As(err, &lookUp):
		// A name that does not exist is a matter of the consumer. Any other failure is the resolver's.
		if !lookUp.IsNotFound {
			verdict = hookgate.VerdictOwn
		}
	case isOwn(err):
		verdict = hookgate.VerdictOwn
	}
	return hookgate.Answer{Verdict: verdict, Reason: printable(reason, maxReason)}
}

func isOwn(err error) bool {
	for _, own := range ownErrors {
		if errors.Is(err, own) {
			return true
		}
	}
	return false
}
