package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/progress"
	"github.com/hookgate/hookgate/internal/show"
)

// letterChange is a command that retries or purges dead letters: those with the given ids, or those
// that a filter selects.
type letterChange struct {
	connection
	filter letterFilter
	all    bool
	asJSON bool
	past   string // of the verb
	// one changes the dead letter with an id, many those that are selected. Both call did.
	one  func(id string, o ...api.Option) error
	many func(s api.DeadLetterSelection, o ...api.Option) error

	out, status io.Writer
	bar         *progress.Bar
	done        int
	refused     int // those that could not be changed
}

func (l *letterChange) register(cmd *cobra.Command) {
	l.filter = letterFilter{}
	l.connection.register(cmd)
	l.registerReason(cmd)
	l.registerApproval(cmd)
	l.filter.register(cmd)
	cmd.Flags().BoolVar(&l.all, "all", false, "all of them")
	cmd.Flags().BoolVar(&l.asJSON, "json", false, "print NDJSON, one dead letter per line")
}

// run changes what the ids and flags select.
func (l *letterChange) run(cmd *cobra.Command, client *api.Client, ids []string,
	loseEvents bool) error {
	s := api.DeadLetterSelection{Filter: l.filter.set(), All: l.all, LoseEvents: loseEvents}
	switch byFilter := len(s.Filter) > 0; {
	case len(ids) > 0 && (byFilter || l.all), byFilter && l.all:
		return errors.New("give ids, or a filter, or --all, and only one of them")
	case len(ids) == 0 && !byFilter && !l.all:
		return errors.New("name the dead letters: ids from hookgate dlq list, a filter, or --all")
	case len(ids) > 1 && l.approval != "":
		return errors.New("--approval is for one dead letter, or for those of a filter; several " +
			"ids need one approval each: use a filter, or --wait")
	}
	l.out, l.status = cmd.OutOrStdout(), cmd.ErrOrStderr()
	l.bar = progress.New(l.status, 0)
	defer l.bar.Done()
	named := l.approval
	for _, id := range ids {
		l.approval = named // not the one that the previous dead letter has used
		err := l.approved(cmd, client, func(o ...api.Option) error { return l.one(id, o...) })
		var failed *api.Error
		switch {
		case api.HasStatus(err, http.StatusNotFound), api.HasStatus(err, http.StatusConflict):
			errors.As(err, &failed)
			l.refused++
			fmt.Fprintf(l.status, "%s: %s\n", id, failed.Message)
		case err != nil:
			return fmt.Errorf("dead letter %s: %w", id, err)
		}
	}
	if len(ids) == 0 {
		err := l.approved(cmd, client, func(o ...api.Option) error { return l.many(s, o...) })
		if err != nil && l.done > 0 {
			return &exitError{exitFail, fmt.Errorf("%d %s, then: %w; run it again for the rest", l.done,
				l.past, err)}
		} else if err != nil {
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

// did counts dead letters that were changed.
func (l *letterChange) did(n int) {
	l.done += n
	l.bar.Set(int64(l.done), fmt.Sprintf("%d %s", l.done, l.past))
}

func newDLQRetryCommand(subscription *string) *cobra.Command {
	l := &letterChange{past: "retried"}
	cmd := &cobra.Command{
		Use:   "retry [ID...]",
		Short: "Send dead letters through the queue again",
		Long: `Send dead letters through the queue again, oldest first: those with the given IDs (or
request ids), the open ones that match a filter, or all open ones.

A retry keeps the identity, ordering key, sequence, headers, body and time of receipt,
and has a request id of its own. The duplicate check lets it pass. It is queued behind
what its partition already has. However often a dead letter is retried, one event is
stored: the other retries end as duplicates in the lineage. If the store rejects a retry
again, it becomes a new dead letter. This works in the mode read_only too.

While the queue is full, the command waits. After an interruption run it again: what is
stored by then is not retried again.

If this needs an approval (approvals.required), nothing is done until another person has
approved: see hookgate approvals. The approval covers the dead letters there are by then.

Exit code 0: everything selected is queued or already stored. 1: something could not be
retried, or the approval was denied. 2: the gate could not be asked, or an approval is
needed.`,
		Example: `  hookgate dlq retry 17 18
  hookgate dlq retry --failed-with "violates check constraint" --reason "fixed in 4.2"
  hookgate dlq retry --all && hookgate drain && hookgate dlq list`,
	}
	l.register(cmd)
	cmd.RunE = l.with(func(cmd *cobra.Command, client *api.Client, ids []string) error {
		if *subscription != "" {
			return l.resolve(cmd, client, *subscription, hookgate.ResolveRetry, ids)
		}
		l.one = func(id string, o ...api.Option) error {
			a, err := client.RetryDeadLetter(cmd.Context(), id, o...)
			l.printRetried(a, true)
			return err
		}
		l.many = func(s api.DeadLetterSelection, o ...api.Option) error {
			return client.RetryAll(cmd.Context(), s, func(a api.Retried) { l.printRetried(a, false) }, o...)
		}
		return l.run(cmd, client, ids, false)
	})
	return cmd
}

// printRetried prints what became of the dead letters of one call.
func (l *letterChange) printRetried(a api.Retried, byID bool) {
	l.did(len(a.Retried))
	for _, r := range a.Retried {
		if l.asJSON {
			show.Line(l.out, r)
		} else if byID { // of many there would be too many lines
			fmt.Fprintf(l.out, "%s: retried as request %s\n", r.ID, r.RequestID)
		}
	}
	for _, s := range a.Skipped {
		if s.State != hookgate.DeadLetterStored && s.State != hookgate.DeadLetterSuperseded {
			l.refused++
		}
		if l.asJSON {
			show.Line(l.out, s)
		} else {
			fmt.Fprintf(l.status, "%s: not retried: %s\n", s.ID, s.Reason)
		}
	}
}

func newDLQPurgeCommand(subscription *string) *cobra.Command {
	l := &letterChange{past: "purged"}
	var loseEvents bool
	var state string
	cmd := &cobra.Command{
		Use:   "purge [ID...]",
		Short: "Remove the bodies of dead letters for good; needs the role admin",
		Long: `Remove the bodies of dead letters for good: those with the given IDs (or request ids),
those that match a filter, or all. If a dead letter is a retry, the bodies of the earlier
ones go with it. Everything else about them stays, including their lineage, which records
who purged them and why. The audit chain covers the purge.

An open dead letter is the only copy of its event, so a purge loses that event. Open ones
are purged only with --lose-events. Without it a filter or --all selects only the stored
and superseded ones.

If this needs an approval (approvals.required), nothing is done until another person has
approved: see hookgate approvals. The approval covers the dead letters there are by then.

Exit code 0: everything selected is purged. 1: something could not be purged, or the
approval was denied. 2: the gate could not be asked, or an approval is needed.`,
		Example: `  hookgate dlq purge --all
  hookgate dlq purge 17 --lose-events --reason "test traffic"
  hookgate dlq purge --type order.test --lose-events`,
	}
	l.register(cmd)
	cmd.Flags().StringVar(&state, "state", "",
		"only those in this `state`: open, stored or superseded")
	cmd.Flags().BoolVar(&loseEvents, "lose-events", false,
		"purge open ones too, whose events are lost")
	l.filter["state"] = &state
	cmd.RunE = l.with(func(cmd *cobra.Command, client *api.Client, ids []string) error {
		if *subscription != "" {
			return l.resolve(cmd, client, *subscription, hookgate.ResolveSkip, ids)
		}
		l.one = func(id string, o ...api.Option) error {
			a, err := client.PurgeDeadLetter(cmd.Context(), id, loseEvents, o...)
			l.printPurged(a)
			return err
		}
		l.many = func(s api.DeadLetterSelection, o ...api.Option) error {
			return client.PurgeAll(cmd.Context(), s, l.printPurged, o...)
		}
		err := l.run(cmd, client, ids, loseEvents)
		if l.refused > 0 && !loseEvents {
			err = errors.Join(err, errors.New("to lose the events of open ones, add --lose-events"))
		}
		return err
	})
	return cmd
}

// printPurged prints the requests whose dead letters were purged.
func (l *letterChange) printPurged(a api.Purged) {
	l.did(len(a.Purged))
	for _, id := range a.Purged {
		if l.asJSON {
			show.Line(l.out, map[string]string{"requestId": id})
		}
	}
}
