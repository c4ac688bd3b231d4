package push

import (
	"cmp"
	"context"
	"net"
)

// Reach implements deliver.Reacher: it opens a connection to the consumer and closes it. It sends
// nothing.
func (c *Consumer) Reach(ctx context.Context) error {
	port := cmp.Or(c.url.Port(), map[string]string{"http": "80", "https": "443"}[c.url.Scheme])
	conn, err := c.transport.DialContext(ctx, "tcp", net.JoinHostPort(c.url.Hostname(), port))
	if err != nil {
		return err
	}
	return conn.Close()
}
