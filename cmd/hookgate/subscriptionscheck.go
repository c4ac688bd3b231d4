package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/config"
	"github.com/hookgate/hookgate/deliver/push"
	"github.com/hookgate/hookgate/internal/show"
)

func newSubscriptionsCheckCommand() *cobra.Command {
	var send, asJSON bool
	cmd := &cobra.Command{
		Use:   "check [NAME]",
		Short: "Check the configuration of the subscriptions and try their URLs, without a gate",
		Long: `Read the configuration as serve does, resolve every secret, and connect to the URL of each
subscription, or of the one named NAME: look up its host, check the addresses against
egress, connect, and make the TLS handshake. No request is sent.

With --send, also send a test event and show the answer. It is signed like any other event.
The header ` + "`hookgate-test: true`" + ` marks it, its type is hookgate.test and its source
` + hookgate.TestSource + `. It is not stored.

Exit code 0: every step succeeded. 1: the configuration is wrong, or a step failed.`,
		Example: `  hookgate subscriptions check
  hookgate subscriptions check billing --send --config /etc/hookgate/hookgate.yaml`,
		Args: cobra.MaximumNArgs(1),
	}
	configFlag(cmd)
	cmd.Flags().BoolVar(&send, "send", false, "also send a test event")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print NDJSON, one subscription per line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := loadConfig(cmd, map[string]string{"config": "config"})
		if err != nil {
			return &exitError{exitFail, err}
		}
		names := c.SubscriptionNames()
		if len(args) == 1 {
			if !slices.Contains(names, args[0]) {
				return fmt.Errorf("the configuration has no subscription %s, only %s; without --config and"+
					" HOOKGATE_CONFIG it is read from hookgate.yaml in this folder", args[0],
					cmp.Or(strings.Join(names, ", "), "none"))
			}
			names = args
		}
		failed := 0
		for _, name := range names {
			checked := checkSubscription(cmd.Context(), c, name, send)
			if !checked.OK {
				failed++
			}
			if asJSON {
				err = show.Line(cmd.OutOrStdout(), checked)
			} else {
				err = show.CheckedSubscription(cmd.OutOrStdout(), checked)
			}
			if err != nil {
				return err
			}
		}
		switch {
		case cmd.Context().Err() != nil:
			return cmd.Context().Err()
		case failed > 0:
			return &exitError{exitFail, fmt.Errorf("%d of %d subscriptions failed", failed, len(names))}
		case !asJSON:
			noun := "subscriptions"
			if len(names) == 1 {
				noun = "subscription"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "OK: %d %s\n", len(names), noun)
		}
		return nil
	}
	return cmd
}

// checkSubscription takes the steps of a delivery.
func checkSubscription(ctx context.Context, c config.Config, name string,
	send bool) (checked show.SubscriptionCheck) {
	checked.Name = name
	add := func(steps ...push.Step) {
		for _, s := range steps {
			checked.Add(s.Name, s.Detail, s.Err, s.Took)
		}
	}
	if c.Subscriptions[name].Pull != nil {
		add(push.Step{Name: "settings", Detail: "clients fetch the events: nothing to connect to"})
		return checked
	}
	consumer, err := c.NewConsumer(name)
	if err != nil {
		add(push.Step{Name: "settings", Err: err})
		return checked
	}
	checked.Host = consumer.Host()
	secrets := len(c.Subscriptions[name].Push.Signing)
	detail := fmt.Sprintf("requests get %d signatures", secrets)
	switch secrets {
	case 0:
		detail = "requests are not signed: push.signing is not set"
	case 1:
		detail = "requests are signed"
	}
	add(push.Step{Name: "settings", Detail: detail})
	add(consumer.Probe(ctx)...)
	if !send || !checked.OK {
		return checked
	}
	now := time.Now()
	body, _ := json.Marshal(map[string]any{"type": testEventType, "subscription": name,
		"sentAt": now.UTC().Format(time.RFC3339Nano)})
	id := hookgate.NewRequestID(now)
	answer := consumer.SendTest(ctx, &hookgate.Event{
		Identity: hookgate.Identity{Source: hookgate.TestSource, EventType: testEventType,
			MessageID: id.String()},
		OrderingKey: testEventType, RequestID: id, ReceivedAt: now, StoredAt: now, Body: body,
	})
	step := push.Step{Name: "test event", Detail: fmt.Sprintf("answered %d", answer.Status),
		Took: time.Since(now)}
	if answer.Verdict != hookgate.VerdictDelivered {
		step.Err = errors.New(answer.Reason)
	}
	add(step)
	return checked
}

// testEventType is the type of the event that --send sends.
const testEventType = "hookgate.test"
