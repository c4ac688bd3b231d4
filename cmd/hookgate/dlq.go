package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/hookgate/hookgate/internal/terminal"
	"github.com/spf13/cobra"
)

func newDLQCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "List, show, replay and purge dead letters",
		Long: `A dead letter is an event that the store rejects, however often it is tried. It is
kept whole, with the reason, until a person replays or purges it; it never expires.

Each is in one of four states, which follow from what is stored:

  open         nobody has dealt with it: list shows these
  stored       its event is stored, by a replay or because the sender sent it again
  superseded   a replay of it has become a dead letter in turn; that one is open
  purged       its body was removed; its lineage stays

Once the cause is gone, replay: the event goes through the queue again with its
identity, body and ordering key, whatever the duplicate check says. However often it
is replayed, and from wherever, one event is stored.`,
		Example: `  hookgate dlq list
  hookgate dlq show 17
  hookgate dlq replay 17
  hookgate dlq replay --type order.paid --failed-with "violates check constraint"
  hookgate dlq replay --all --reason "the constraint is fixed"
  hookgate dlq purge --all`,
	}
	cmd.AddCommand(newDLQListCommand(), newDLQShowCommand(), newDLQReplayCommand(),
		newDLQPurgeCommand())
	return cmd
}

// letterFilter are the flags that select dead letters, by the names of their parameters.
type letterFilter map[string]*string

func (f letterFilter) register(cmd *cobra.Command) {
	for _, flag := range []struct{ name, parameter, usage string }{
		{"source", "source", "those of this `source`"},
		{"type", "type", "those of this event `type`"},
		{"key", "key", "those of this ordering `key`"},
		{"message-id", "messageId", "those with this message `id`"},
		{"failed-with", "reason", "those whose reason contains this `text`"},
		{"from", "from", "those that failed at or after this `time` (RFC 3339)"},
		{"to", "to", "those that failed before this `time` (RFC 3339)"},
	} {
		f[flag.parameter] = cmd.Flags().String(flag.name, "", flag.usage)
	}
}

// set returns the parameters that are given.
func (f letterFilter) set() map[string]string {
	given := map[string]string{}
	for name, value := range f {
		if *value != "" {
			given[name] = *value
		}
	}
	return given
}

// letter is a dead letter as the admin API shows it, in a listing or in a history.
type letter struct {
	ID, State, Source, MessageID, EventType, OrderingKey string
	Sequence                                             *int64
	RequestID, RemoteAddr, Reason, Position, SHA256      string
	Partition                                            int
	Size                                                 int64
	ReceivedAt, DeadLetteredAt                           time.Time
	RetryOf                                              string
	RetriedAt, PurgedAt                                  *time.Time
	PurgedBy, PurgeReason                                string
	Attempts                                             int
	LastError                                            string
}

func newDLQListCommand() *cobra.Command {
	var c client
	var state, after string
	var limit int
	var all, asJSON bool
	filter := letterFilter{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, oldest first: the open ones",
		Example: `  hookgate dlq list
  hookgate dlq list --all --type order.paid
  hookgate dlq list --json --limit 0 | jq -r .reason | sort | uniq -c`,
		Args: cobra.NoArgs,
	}
	c.register(cmd)
	filter.register(cmd)
	cmd.Flags().StringVar(&state, "state", "",
		"those in this `state`: open, stored, superseded or purged")
	cmd.Flags().BoolVar(&all, "all", false, "those in every state")
	cmd.Flags().StringVar(&after, "after", "", "those stored after the one with this `id`")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many; 0 for all")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print NDJSON, one dead letter a line")
	cmd.MarkFlagsMutuallyExclusive("state", "all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query := url.Values{}
		for name, value := range filter.set() {
			query.Set(name, value)
		}
		if all {
			state = "all"
		}
		if state != "" {
			query.Set("state", state)
		}
		if after != "" {
			query.Set("after", after)
		}
		if limit > 0 {
			query.Set("limit", fmt.Sprint(limit))
		}
		print := printLetters
		if asJSON {
			print = copyRows("dead letters")
		}
		return c.list(cmd, "/admin/dlq", query, print)
	}
	return cmd
}

// reasonWidth is how much of a reason a listing shows: its end, which says most. The command show
// has all of it.
const reasonWidth = 80

// printLetters prints NDJSON as a table.
func printLetters(out io.Writer, body io.Reader) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tSTATE\tFAILED\tSOURCE\tTYPE\tMESSAGE ID\tKEY\tBYTES\tREASON")
	for letters := json.NewDecoder(body); ; {
		var l letter
		if err := letters.Decode(&l); errors.Is(err, io.EOF) {
			return t.Flush()
		} else if err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
		reason := []rune(l.Reason)
		if len(reason) > reasonWidth {
			reason = append([]rune{'…'}, reason[len(reason)-reasonWidth+1:]...)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%q\n", l.ID, l.State, timeOr(&l.DeadLetteredAt,
			""), l.Source, l.EventType,
			l.MessageID, l.OrderingKey, l.Size, string(reason))
	}
}

func newDLQShowCommand() *cobra.Command {
	var c client
	var asJSON, body bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a dead letter: why, how often, its lineage, its exact body",
		Long: `Show what is known of a dead letter: what it was received as, why it could not be
stored at each attempt, and the lineage of every request of its identity. ID is that of
the list, or the request id.

With --body nothing but its exact bytes is printed. Of a queue entry that could not be
decoded they are those of the entry.`,
		Example: `  hookgate dlq show 17
  hookgate dlq show 17 --body > event.json`,
		Args: cobra.ExactArgs(1),
	}
	c.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&body, "body", false, "print the body, byte for byte")
	cmd.MarkFlagsMutuallyExclusive("json", "body")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := "/admin/dlq/" + url.PathEscape(args[0])
		if body {
			bytes, err := c.do(cmd.Context(), http.MethodGet, path+"/body", nil, "application/octet-stream",
				nil)
			if err != nil {
				return err
			}
			defer bytes.Close()
			if _, err := io.Copy(terminal.Exact(cmd.OutOrStdout()), bytes); err != nil {
				return fmt.Errorf("read the body: %w", err)
			}
			return nil
		}
		var answer json.RawMessage
		if err := c.get(cmd.Context(), path, nil, &answer); err != nil {
			return err
		}
		if asJSON {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), string(answer))
			return err
		}
		var shown struct {
			DeadLetter letter
			History    []letter
			trace
		}
		if err := json.Unmarshal(answer, &shown); err != nil {
			return fmt.Errorf("read the gate's answer: %w", err)
		}
		if err := shown.DeadLetter.print(cmd.OutOrStdout(), shown.History); err != nil {
			return err
		}
		return shown.trace.print(cmd.OutOrStdout())
	}
	return cmd
}

func (l *letter) print(out io.Writer, history []letter) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t"+format+"\n", append([]any{name}, args...)...)
	}
	row("dead letter", "%s, %s", l.ID, l.State)
	if l.MessageID == "" {
		row("event", "unknown: the queue's entry could not be decoded, and so it cannot be replayed")
	} else {
		row("event", "%s/%s/%s", l.Source, l.EventType, l.MessageID)
		row("ordering key", "%s", l.OrderingKey)
		if l.Sequence != nil {
			row("sequence", "%d", *l.Sequence)
		}
		row("received", "%s from %s", timeOr(&l.ReceivedAt, ""), l.RemoteAddr)
	}
	row("body", "%d bytes, sha256 %s", l.Size, l.SHA256)
	row("queue", "partition %d, position %s", l.Partition, l.Position)
	if err := w.Flush(); err != nil {
		return err
	}
	for _, h := range history {
		fmt.Fprintf(out, "\nfailed %s, request %s (dead letter %s, %s)\n  %s\n", timeOr(&h.DeadLetteredAt,
			""), h.RequestID, h.ID, h.State, h.Reason)
		if h.RetryOf != "" {
			fmt.Fprintf(out, "  replay of %s at %s\n", h.RetryOf, timeOr(h.RetriedAt, ""))
		}
		if h.Attempts > 1 {
			fmt.Fprintf(out, "  stored as a dead letter at attempt %d, after: %s\n", h.Attempts, h.LastError)
		}
		if h.PurgedAt != nil {
			fmt.Fprintf(out, "  purged at %s by %s: %s\n", timeOr(h.PurgedAt, ""), h.PurgedBy, h.PurgeReason)
		}
	}
	_, err := fmt.Fprintln(out)
	return err
}
