package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/config"
	"github.com/hookgate/hookgate/gate"
	"github.com/hookgate/hookgate/internal/show"
	"github.com/hookgate/hookgate/store/postgres"
)

func newMigrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Show or update the schema of the PostgreSQL store",
		Long: `Show or update the schema of the PostgreSQL store that DB_URL or database.url names.

serve updates the schema when it starts, unless database.migrate is false.`,
		Example: "  DB_URL=postgres://gate@10.0.0.2/gate hookgate migrate status",
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "up", Short: "Bring the schema up to date", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				c, err := databaseOf()
				if err != nil {
					return err
				}
				return postgres.Migrate(cmd.Context(), c.URL, c.Schema)
			},
		},
		&cobra.Command{
			Use: "status", Short: "Show which migrations are applied", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				c, err := databaseOf()
				if err != nil {
					return err
				}
				all, err := postgres.MigrationStatus(cmd.Context(), c.URL, c.Schema)
				if err != nil {
					return err
				}
				t := show.NewTable(cmd.OutOrStdout(), "VERSION", "NAME", "APPLIED")
				for _, m := range all {
					t.Row(m.Version, m.Name, show.TimeOr(api.AtOrNull(m.AppliedAt), "no"))
				}
				return t.Flush()
			},
		},
	)
	return cmd
}

// databaseOf returns the configured database.
func databaseOf() (gate.DatabaseOptions, error) {
	c, err := config.Load(os.Environ(), map[string]any{})
	if err != nil {
		return gate.DatabaseOptions{}, err
	}
	if c.Database.URL == "" {
		return gate.DatabaseOptions{},
			errors.New("no database: set DB_URL, or database.url in hookgate.yaml")
	}
	return c.Database, nil
}
