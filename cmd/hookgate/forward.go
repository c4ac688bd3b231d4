package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/deliver/push"
	"github.com/hookgate/hookgate/internal/consume"
	"github.com/hookgate/hookgate/internal/show"
)

func newForwardCommand() *cobra.Command {
	var c connection
	var to string
	var since time.Duration
	var f consume.Forwarder
	cmd := &cobra.Command{
		Use:   "forward",
		Short: "Forward events to an application on this machine, for development",
		Long: `Forward the events that the gate stores from now on to a URL, and print a line for each
answer. The application gets the exact bytes of the sender and the sender's own headers,
as far as the gate keeps them, so it can verify the sender's signature. Headers
hookgate-… name the event.

An answer 2xx settles an event. After any other answer, or none within --timeout, the
event comes again later, and later events of its ordering key wait behind it. If the
application does not run, events wait until it does. Nothing is lost while this machine
sleeps, the network is away, or the gate restarts.

The events come through a temporary subscription, so nobody else misses an event. Ctrl-C
ends it: requests in flight are finished, and the subscription is deleted. If the command
is killed, the gate forgets the subscription after an hour without contact.

The token must be of the role operator or admin.`,
		Example: `  hookgate forward --to http://localhost:3000/webhooks
  hookgate forward --to http://localhost:3000/webhooks --source stripe --type 'invoice.*' --since 10m
  HOOKGATE_TOKEN=… hookgate forward --to http://localhost:3000/webhooks --target https://gate.example`,
		Args: cobra.NoArgs,
	}
	c.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&to, "to", "", "`URL` of the application")
	flags.StringArrayVar(&f.Wanted.Sources, "source", nil,
		"only events of this `source`; if repeated, of these")
	flags.StringArrayVar(&f.Wanted.Types, "type", nil,
		"only events of this `type`, in which a star stands for any text; if repeated, of these")
	flags.DurationVar(&since, "since", 0,
		"also events that were stored within this `time`, such as 10m")
	flags.IntVar(&f.Concurrency, "concurrency", 4, "the greatest number of requests at a time")
	flags.DurationVar(&f.Timeout, "timeout", push.DefaultTimeout, "the longest `time` for one request")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.Concurrency < 1 || since < 0 {
			return errors.New("--concurrency must be at least 1, and --since not negative")
		}
		app, err := push.New(push.Config{Name: "forward", URL: to, Timeout: f.Timeout, Original: true,
			Concurrency: f.Concurrency})
		if err != nil {
			return forwardError(err)
		}
		defer app.CloseIdleConnections()
		client, err := c.client()
		if err != nil {
			return err
		}
		if err := checkSources(cmd.Context(), client, f.Wanted.Sources); err != nil {
			return err
		}
		note := noteTo(cmd)
		f.Gate, f.App, f.To = consume.NewGate(client, note), app, withoutUser(to)
		f.Wanted.Since = api.Duration(since)
		f.Print = show.NewEventLines(cmd.OutOrStdout()).Forwarded
		name, err := f.Open(cmd.Context())
		if err != nil {
			return err
		}
		note(fmt.Sprintf("forwarding to %s with subscription %s; Ctrl-C ends it", f.To, name))
		began := time.Now()
		did, err := f.Run(cmd.Context())
		note(summary(did, time.Since(began)))
		return err
	}
	return cmd
}

// summary says what was forwarded.
func summary(did consume.Forwarded, took time.Duration) string {
	text := fmt.Sprintf("%d delivered in %s", did.Delivered, took.Round(time.Second))
	if did.Failed == 1 {
		text += "; 1 attempt failed"
	} else if did.Failed > 1 {
		text += fmt.Sprintf("; %d attempts failed", did.Failed)
	}
	if did.Left > 0 {
		text += fmt.Sprintf("; %d not delivered", did.Left)
	}
	return text
}

// forwardError names the flags in place of the settings of a subscription.
func forwardError(err error) error {
	names := strings.NewReplacer("url: ", "--to ", "timeout: ", "--timeout ", "\n", "; ")
	return errors.New(names.Replace(err.Error()))
}

// checkSources returns an error if the gate does not have one of the sources.
func checkSources(ctx context.Context, client *api.Client, names []string) error {
	if len(names) == 0 {
		return nil
	}
	answer, err := client.Sources(ctx)
	if err != nil {
		return err
	}
	var known []string
	for _, s := range answer.Sources {
		known = append(known, s.Name)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("the gate has no source %s, only %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// withoutUser returns a URL without user and password.
func withoutUser(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}
