package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/hookgate/hookgate/control"
	"github.com/spf13/cobra"
)

// tokenAnswer is what the admin API says about a token.
type tokenAnswer struct {
	Token     string
	Name      string
	Role      string
	CreatedAt time.Time
	CreatedBy string
	ExpiresAt *time.Time
	RevokedAt *time.Time
}

func newTokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Create, list and revoke the tokens of people and programs",
		Long: `Create, list and revoke tokens for the admin and read API of a running gate. All
processes that share its store know them, and one that is revoked stops working in
all of them at once. It takes the role admin.

  viewer     reads: events, traces, mode, admin trail
  operator   also steers: maintenance, drain, replay of dead letters
  admin      everything, tokens and profiles too

The tokens of the configuration (ADMIN_TOKEN, admin_tokens) are admins, are not listed
here, and work even while the store is away.`,
	}
	cmd.AddCommand(newTokenCreateCommand(), newTokenListCommand(), newTokenRevokeCommand())
	return cmd
}

func newTokenCreateCommand() *cobra.Command {
	var c client
	var name, role, expires string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create --name NAME --role ROLE",
		Short: "Make a token and print it, this once",
		Long: `Make a token and print it. The gate keeps its hash only: whoever loses the text makes
a new token. A name is given once, also when its token has been revoked or has expired,
so that the admin trail always tells who it was.

Whoever is given it sets HOOKGATE_TOKEN to it.`,
		Example: `  hookgate token create --name alice --role operator --reason "joins the on-call"
  hookgate token create --name dashboard --role viewer --expires 2160h`,
		Args: cobra.NoArgs,
	}
	c.register(cmd)
	c.registerReason(cmd)
	cmd.Flags().StringVar(&name, "name", "", "`name` of the token in the admin trail")
	cmd.Flags().StringVar(&role, "role", "", "`role`: viewer, operator or admin")
	cmd.Flags().StringVar(&expires, "expires", "",
		"when it stops working: a `time` (RFC 3339), or how long from now, such as 720h; never if not given")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.MarkFlagRequired("name")
	cmd.MarkFlagRequired("role")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		wanted := map[string]string{"name": name, "role": role}
		if expires != "" {
			at, err := parseExpiry(expires, time.Now())
			if err != nil {
				return err
			}
			wanted["expiresAt"] = at.UTC().Format(time.RFC3339)
		}
		if _, err := control.ParseRole(role); err != nil {
			return fmt.Errorf("--role: %w", err)
		}
		text, err := json.Marshal(wanted)
		if err != nil {
			return err
		}
		var answer json.RawMessage
		if err := c.change(cmd.Context(), http.MethodPost, "/admin/tokens", string(text),
			&answer); err != nil {
			return err
		}
		if asJSON {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), string(answer))
			return err
		}
		var t tokenAnswer
		if err := json.Unmarshal(answer, &t); err != nil || t.Token == "" {
			return fmt.Errorf("read the gate's answer: it has no token (%v)", err)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Token %s (%s), expires: %s. It is shown this once:\n", t.Name,
			t.Role, timeOr(t.ExpiresAt, "never"))
		_, err = fmt.Fprintln(cmd.OutOrStdout(), t.Token)
		return err
	}
	return cmd
}

// parseExpiry reads a time, or a duration from now.
func parseExpiry(s string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second {
		return time.Time{}, errors.New("--expires is neither a duration like 720h nor a time like 2027-01-01T00:00:00Z")
	}
	return now.Add(d), nil
}

func newTokenListCommand() *cobra.Command {
	var c client
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List all tokens, expired and revoked ones too",
		Args:  cobra.NoArgs,
	}
	c.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var answer json.RawMessage
		if err := c.get(cmd.Context(), "/admin/tokens", nil, &answer); err != nil {
			return err
		}
		if asJSON {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), string(answer))
			return err
		}
		var all struct{ Tokens []tokenAnswer }
		if err := json.Unmarshal(answer, &all); err != nil {
			return fmt.Errorf("read the gate's answer: %w", err)
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tROLE\tCREATED\tBY\tEXPIRES\tREVOKED")
		for _, t := range all.Tokens {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", t.Name, t.Role, timeOr(&t.CreatedAt, ""), t.CreatedBy,
				timeOr(t.ExpiresAt, "never"), timeOr(t.RevokedAt, "-"))
		}
		return w.Flush()
	}
	return cmd
}

func timeOr(t *time.Time, none string) string {
	if t == nil {
		return none
	}
	return t.UTC().Format(time.RFC3339)
}

func newTokenRevokeCommand() *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use:     "revoke NAME",
		Short:   "End a token for good, in every process at once",
		Example: `  hookgate token revoke alice --reason "has left"`,
		Args:    cobra.ExactArgs(1),
	}
	c.register(cmd)
	c.registerReason(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var t tokenAnswer
		if err := c.change(cmd.Context(), http.MethodDelete, "/admin/tokens/"+url.PathEscape(args[0]), "",
			&t); err != nil {
			return err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "revoked %s at %s\n", t.Name, timeOr(t.RevokedAt, "?"))
		return err
	}
	return cmd
}
