package gate

import (
	"context"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/attention"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
)

// metricsConfigOf names the parts that the gauges ask at each scrape.
func metricsConfigOf(o Options, b *backends, letters *attention.DeadLetters, clock *attention.Clock,
	subscriptions *attention.Subscriptions, edge httpserver.Config) metrics.Config {
	m := metrics.Config{
		Subscriptions:   subscriptions.All,
		Queue:           b.queue.Stats,
		Store:           b.reader.Counts,
		Pool:            b.pool,
		Holdings:        b.holdings,
		Mode:            b.settings.Mode,
		Kind:            o.QueueKind(),
		ClockBehind:     clock.Behind,
		OpenDeadLetters: letters.Open,
		RetentionWaits:  o.retentionWaits(),
		DataDir:         o.dir().Space,
		Version:         o.Version,
	}
	if edge.TLS != nil {
		m.CertificateExpiry = func() (time.Time, error) {
			cert, err := edge.TLS.GetCertificate(nil)
			if err != nil {
				return time.Time{}, err
			}
			return cert.Leaf.NotAfter, nil
		}
	}
	return m
}

// oldestDeadLetter returns when the first of the open dead letters failed; zero if none is open.
func (b *backends) oldestDeadLetter(ctx context.Context) (at time.Time, err error) {
	for letter, err := range b.reader.DeadLetters(ctx, hookgate.DeadLetterFilter{
		State: hookgate.DeadLetterOpen, Limit: 1}) {
		return letter.DeadLetteredAt, err
	}
	return at, nil
}
