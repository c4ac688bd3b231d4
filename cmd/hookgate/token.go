package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/show"
)

func newTokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Create, list and revoke tokens of people and programs",
		Long: `Create, list and revoke tokens for the admin and read API of a running gate. All
processes that share its store know the tokens, so a revoked token stops working in all
of them at once. These commands need the role admin.

  consumer   fetches the events of the subscriptions that it names, and nothing else
  viewer     reads: events, traces, mode, admin trail
  operator   also sets the mode, drains the queue and retries dead letters
  admin      everything, including tokens and profiles

The tokens of the configuration (ADMIN_TOKEN, admin_tokens) have the role admin. They
are not listed here, and work even while the store is away.`,
	}
	cmd.AddCommand(newTokenCreateCommand(), newTokenListCommand(), newTokenRevokeCommand())
	return cmd
}

func newTokenCreateCommand() *cobra.Command {
	var c connection
	var name, role, expires string
	var subscriptions []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create --name NAME --role ROLE",
		Short: "Create a token and print it once",
		Long: `Create a token and print it. The gate keeps only its hash, so a lost token cannot be
shown again: create a new one. A name can be used once, even after its token was revoked
or has expired, so that a name in the admin trail always means the same person.

To use a token, set HOOKGATE_TOKEN.`,
		Example: `  hookgate token create --name alice --role operator --reason "joins the on-call"
  hookgate token create --name dashboard --role viewer --expires 2160h
  hookgate token create --name billing-app --role consumer --subscription billing`,
		Args: cobra.NoArgs,
	}
	c.register(cmd)
	c.registerReason(cmd)
	cmd.Flags().StringVar(&name, "name", "", "`name` of the token in the admin trail")
	cmd.Flags().StringVar(&role, "role", "", "`role`: consumer, viewer, operator or admin")
	cmd.Flags().StringArrayVar(&subscriptions, "subscription", nil,
		"`name` of a subscription whose events a consumer may fetch; repeat it for more")
	cmd.Flags().StringVar(&expires, "expires", "",
		"`time` (RFC 3339), or a duration such as 720h, after which it expires (default: never)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.MarkFlagRequired("name")
	cmd.MarkFlagRequired("role")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, _ []string) error {
		wanted := api.TokenRequest{Name: name, Subscriptions: subscriptions}
		var err error
		if wanted.Role, err = control.ParseRole(role); err != nil {
			return fmt.Errorf("--role: %w", err)
		}
		if expires != "" {
			at, err := parseExpiry(expires, time.Now())
			if err != nil {
				return err
			}
			wanted.ExpiresAt = at.UTC().Format(time.RFC3339)
		}
		t, err := client.CreateToken(cmd.Context(), wanted, c.options()...)
		switch {
		case err != nil:
			return err
		case asJSON:
			return show.Line(cmd.OutOrStdout(), t)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Token %s (%s), expires: %s. It is shown only once:\n", t.Name,
			t.Role, show.TimeOr(t.ExpiresAt, "never"))
		_, err = fmt.Fprintln(cmd.OutOrStdout(), t.Text)
		return err
	})
	return cmd
}

// parseExpiry reads a time, or a duration from now.
func parseExpiry(s string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second {
		return time.Time{}, errors.New("--expires is not like 720h or 2027-01-01T00:00:00Z")
	}
	return now.Add(d), nil
}

func newTokenListCommand() *cobra.Command {
	var c connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List all tokens, including expired and revoked ones",
		Args:  cobra.NoArgs,
	}
	c.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, _ []string) error {
		all, err := client.Tokens(cmd.Context())
		switch {
		case err != nil:
			return err
		case asJSON:
			return show.Line(cmd.OutOrStdout(), all)
		}
		return show.Tokens(cmd.OutOrStdout(), all)
	})
	return cmd
}

func newTokenRevokeCommand() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:     "revoke NAME",
		Short:   "Revoke a token for good, in all processes at once",
		Example: `  hookgate token revoke alice --reason "has left"`,
		Args:    cobra.ExactArgs(1),
	}
	c.register(cmd)
	c.registerReason(cmd)
	cmd.RunE = c.with(func(cmd *cobra.Command, client *api.Client, args []string) error {
		t, err := client.RevokeToken(cmd.Context(), args[0], c.options()...)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "revoked %s at %s\n", t.Name, show.TimeOr(t.RevokedAt,
			"?"))
		return err
	})
	return cmd
}
