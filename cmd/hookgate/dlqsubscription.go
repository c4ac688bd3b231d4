package main

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/show"
)

// onlyFlags returns an error if a flag is set that does not go with --subscription. The flags of a
// connection always do.
func onlyFlags(cmd *cobra.Command, allowed ...string) error {
	for _, name := range []string{"source", "type", "key", "message-id", "failed-with", "from", "to",
		"state", "all", "lose-events"} {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed && !slices.Contains(allowed, name) {
			return fmt.Errorf("--%s cannot be combined with --subscription", name)
		}
	}
	return nil
}

// listDeadExceptions lists the dead letters of a subscription.
func listDeadExceptions(cmd *cobra.Command, client *api.Client, name string, filter letterFilter,
	asJSON bool) error {
	if err := onlyFlags(cmd, "key"); err != nil {
		return err
	}
	q := api.ExceptionQuery{State: hookgate.ExceptionDead, Key: *filter["key"]}
	q.After, _ = cmd.Flags().GetString("after")
	q.Limit, _ = cmd.Flags().GetInt("limit")
	rows := client.AllExceptions(cmd.Context(), name, q)
	if asJSON {
		return show.Lines(cmd.OutOrStdout(), rows)
	}
	return show.Exceptions(cmd.OutOrStdout(), rows)
}

// showDeadException shows a dead letter of a subscription, by the id of its event.
func showDeadException(cmd *cobra.Command, client *api.Client, name, event string,
	asJSON bool) error {
	id, err := strconv.ParseInt(event, 10, 64)
	if err != nil || id <= 0 {
		return fmt.Errorf("%s is not the id of an event", event)
	}
	page, err := client.Exceptions(cmd.Context(), name, api.ExceptionQuery{
		State: hookgate.ExceptionDead, After: api.EventID(id - 1), Limit: 1})
	switch {
	case err != nil:
		return err
	case len(page.Exceptions) == 0 || page.Exceptions[0].Event != api.EventID(id):
		return &exitError{exitFail, fmt.Errorf("event %d is no dead letter of %s", id, name)}
	case asJSON:
		return show.Line(cmd.OutOrStdout(), page.Exceptions[0])
	}
	e := page.Exceptions[0]
	trace, err := client.Trace(cmd.Context(), e.MessageID, "")
	if err != nil {
		return err
	}
	return show.Exception(cmd.OutOrStdout(), name, &e, trace.Requests)
}

// resolve retries or skips dead letters of a subscription.
func (l *letterChange) resolve(cmd *cobra.Command, client *api.Client, name string,
	how hookgate.Resolution, events []string) error {
	if err := onlyFlags(cmd, "key", "all"); err != nil {
		return err
	}
	key := *l.filter["key"]
	given := 0
	for _, is := range []bool{len(events) > 0, key != "", l.all} {
		if is {
			given++
		}
	}
	if given != 1 {
		return fmt.Errorf("name the dead letters: ids from hookgate dlq list --subscription %s, --key,"+
			" or --all, and only one of them", name)
	}
	e := exceptionChange{connection: l.connection, how: how, past: resolutions[how].past,
		state: string(hookgate.ExceptionDead), key: key, asJSON: l.asJSON}
	return e.run(cmd, client, name, events)
}
