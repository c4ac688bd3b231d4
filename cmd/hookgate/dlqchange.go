package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/hookgate/hookgate/internal/progress"
	"github.com/spf13/cobra"
)

// dlqPatience is how often in a row the gate may refuse to go on, without anything being done,
// before a command gives up.
const dlqPatience = 10

// letterChange is a command that replays or purges dead letters: those named, or those that a
// filter selects.
type letterChange struct {
	client
	filter letterFilter
	all    bool
	asJSON bool
	// verb is the last part of the path, and past what has been done to those that are counted.
	verb, past string
	// body has what the calls send beside the filter.
	body map[string]any

	out, status io.Writer
	bar         *progress.Bar
	done        int
	// refused counts those that could not be changed.
	refused int
}

func (l *letterChange) register(cmd *cobra.Command) {
	l.filter, l.body = letterFilter{}, map[string]any{}
	l.client.register(cmd)
	l.registerReason(cmd)
	l.registerApproval(cmd)
	l.filter.register(cmd)
	cmd.Flags().BoolVar(&l.all, "all", false, "all of them")
	cmd.Flags().BoolVar(&l.asJSON, "json", false, "print NDJSON, a line for each dead letter")
}

// run changes what the arguments and flags select.
func (l *letterChange) run(cmd *cobra.Command, ids []string, take func(json.RawMessage) (int,
	error)) error {
	l.out, l.status = cmd.OutOrStdout(), cmd.ErrOrStderr()
	filter := l.filter.set()
	switch given := len(filter) > 0; {
	case len(ids) > 0 && (given || l.all), given && l.all:
		return errors.New("give ids, or a filter, or --all, and not two of them")
	case len(ids) == 0 && !given && !l.all:
		return errors.New("say which dead letters: ids of hookgate dlq list, a filter, or --all")
	case given:
		l.body["filter"] = filter
	case l.all:
		l.body["all"] = true
	}
	l.bar = progress.New(l.status, 0)
	defer l.bar.Done()
	if len(ids) > 1 && l.approval != "" {
		return errors.New("--approval is for one dead letter, or for those of a filter; several ids need one each: use a filter, or --wait")
	}
	named := l.approval
	for _, id := range ids {
		l.approval = named // not the one that the dead letter before waited for
		if err := l.one(cmd.Context(), id, take); err != nil {
			return err
		}
	}
	if len(ids) == 0 {
		if err := l.many(cmd.Context(), take); err != nil {
			return err
		}
	}
	l.bar.Done()
	if !l.asJSON {
		fmt.Fprintf(l.out, "%d %s\n", l.done, l.past)
	}
	if l.refused > 0 {
		return &exitError{exitFail, fmt.Errorf("%d could not be %s", l.refused, l.past)}
	}
	return nil
}

// one changes one dead letter. What the gate finds wrong with it is told and counted.
func (l *letterChange) one(ctx context.Context, id string, take func(json.RawMessage) (int,
	error)) error {
	answer, err := l.call(ctx, "/admin/dlq/"+url.PathEscape(id)+"/"+l.verb)
	var refused *refusal
	if errors.As(err, &refused) && (refused.code == http.StatusNotFound ||
		refused.code == http.StatusConflict) {
		l.refused++
		fmt.Fprintf(l.status, "%s: %s\n", id, refused.told)
		return nil
	}
	if err != nil {
		return fmt.Errorf("dead letter %s: %w", id, err)
	}
	return l.took(answer, take)
}

// many changes what the body selects, call by call. When the queue is full it waits.
func (l *letterChange) many(ctx context.Context, take func(json.RawMessage) (int, error)) error {
	for idle := 0; ; {
		answer, err := l.call(ctx, "/admin/dlq/"+l.verb)
		var refused *refusal
		if errors.As(err, &refused) && refused.code == http.StatusServiceUnavailable {
			answer = refused.body
		} else if err != nil {
			return l.incomplete(err)
		}
		var page struct{ Next string }
		if jsonErr := json.Unmarshal(answer, &page); jsonErr != nil {
			return l.incomplete(errors.Join(err, fmt.Errorf("read the gate's answer: %w", jsonErr)))
		}
		before := l.done
		if takeErr := l.took(answer, take); takeErr != nil {
			return takeErr
		}
		if page.Next != "" {
			l.body["after"] = page.Next
		}
		switch {
		case err == nil && page.Next == "":
			return nil
		case err == nil, l.done > before:
			idle = 0
		default:
			if idle++; idle == dlqPatience {
				return l.incomplete(err)
			}
		}
		if err != nil {
			select {
			case <-time.After(max(refused.retryAfter, 100*time.Millisecond)):
			case <-ctx.Done():
				return l.incomplete(ctx.Err())
			}
		}
	}
}

// incomplete says how far a command came before it failed.
func (l *letterChange) incomplete(err error) error {
	if l.done > 0 {
		return &exitError{exitFail, fmt.Errorf("%d %s, then: %w; run it again for the rest", l.done,
			l.past, err)}
	}
	return err
}

func (l *letterChange) call(ctx context.Context, path string) (answer json.RawMessage, err error) {
	body := ""
	if len(l.body) > 0 {
		text, err := json.Marshal(l.body)
		if err != nil {
			return nil, err
		}
		body = string(text)
	}
	return answer, l.change(ctx, http.MethodPost, path, body, &answer)
}

// took hands an answer to take, which prints it and returns how many were changed.
func (l *letterChange) took(answer json.RawMessage, take func(json.RawMessage) (int, error)) error {
	n, err := take(answer)
	l.done += n
	l.bar.Set(int64(l.done), fmt.Sprintf("%d %s", l.done, l.past))
	return err
}

func newDLQReplayCommand() *cobra.Command {
	l := &letterChange{verb: "replay", past: "replayed"}
	cmd := &cobra.Command{
		Use:   "replay [ID...]",
		Short: "Send dead letters through the queue again: some, those that match, or all",
		Long: `Send dead letters through the queue again, oldest first: those with the IDs (or request
ids) given, the open ones that match a filter, or all open ones.

A replay keeps the identity, ordering key, sequence, headers, body and time of receipt,
and has a request id of its own; the duplicate check does not hold it up. It stands in
its partition behind what is queued already. However often a dead letter is replayed,
one event is stored: the others end as duplicates in the lineage. One that the store
rejects again is a new dead letter. It works in the mode read_only too.

When the queue is full it waits and goes on. After an interruption run it again: what
is stored by then is not replayed again.

If the gate wants an approval for this (approvals.required), nothing is done until another
person has given it: hookgate approvals. It covers what is a dead letter by then.

Exit code 0: everything selected is queued, or is stored already. 1: something could not
be replayed, or was denied. 2: the gate could not be asked, or an approval is needed.`,
		Example: `  hookgate dlq replay 17 18
  hookgate dlq replay --failed-with "violates check constraint" --reason "fixed in 4.2"
  hookgate dlq replay --all && hookgate drain && hookgate dlq list`,
	}
	l.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, ids []string) error { return l.run(cmd, ids, l.takeReplayed) }
	return cmd
}

// takeReplayed prints the answer to a replay.
func (l *letterChange) takeReplayed(answer json.RawMessage) (int, error) {
	var a struct{ Replayed, Skipped []json.RawMessage }
	if err := json.Unmarshal(answer, &a); err != nil {
		return 0, fmt.Errorf("read the gate's answer: %w", err)
	}
	for _, row := range append(a.Replayed, a.Skipped...) {
		var one struct{ ID, RequestID, State, Reason string }
		if err := json.Unmarshal(row, &one); err != nil {
			return 0, fmt.Errorf("read the gate's answer: %w", err)
		}
		if one.RequestID == "" && one.State != "stored" && one.State != "superseded" {
			l.refused++
		}
		switch {
		case l.asJSON:
			fmt.Fprintln(l.out, string(row))
		case one.RequestID == "":
			fmt.Fprintf(l.status, "%s: not replayed: %s\n", one.ID, one.Reason)
		case len(l.body) == 0: // by id: the request id is worth a line
			fmt.Fprintf(l.out, "%s: replayed as request %s\n", one.ID, one.RequestID)
		}
	}
	return len(a.Replayed), nil
}

func newDLQPurgeCommand() *cobra.Command {
	l := &letterChange{verb: "purge", past: "purged"}
	var loseEvents bool
	var state string
	cmd := &cobra.Command{
		Use:   "purge [ID...]",
		Short: "Remove the bodies of dead letters for good; takes the role admin",
		Long: `Remove the bodies of dead letters for good, with those of the earlier ones that they
replay: those with the IDs (or request ids) given, those that match a filter, or all. What
is known of each beside its body stays, as does its lineage, which says who purged it
and why; the audit chain covers the purge.

A dead letter that is open is the only place where its event is kept, and a purge loses
that event for ever. So open ones are purged only with --lose-events; without it a filter
or --all takes the stored and superseded ones alone.

If the gate wants an approval for this (approvals.required), nothing is done until another
person has given it: hookgate approvals. It covers what is a dead letter by then.

Exit code 0: everything selected is purged. 1: something could not be purged, or was
denied. 2: the gate could not be asked, or an approval is needed.`,
		Example: `  hookgate dlq purge --all
  hookgate dlq purge 17 --lose-events --reason "test traffic"
  hookgate dlq purge --type order.test --lose-events`,
	}
	l.register(cmd)
	cmd.Flags().StringVar(&state, "state", "", "those in this `state`: open, stored or superseded")
	cmd.Flags().BoolVar(&loseEvents, "lose-events", false,
		"purge open ones too, whose events are lost for ever")
	l.filter["state"] = &state
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		if loseEvents {
			l.body["loseEvents"] = true
		}
		err := l.run(cmd, ids, l.takePurged)
		if l.refused > 0 && !loseEvents {
			err = errors.Join(err, errors.New("to lose the events of open ones for ever, add --lose-events"))
		}
		return err
	}
	return cmd
}

// takePurged prints the answer to a purge.
func (l *letterChange) takePurged(answer json.RawMessage) (int, error) {
	var a struct{ Purged []string }
	if err := json.Unmarshal(answer, &a); err != nil {
		return 0, fmt.Errorf("read the gate's answer: %w", err)
	}
	if l.asJSON {
		for _, id := range a.Purged {
			fmt.Fprintf(l.out, "{\"requestId\":%q}\n", id)
		}
	}
	return len(a.Purged), nil
}
