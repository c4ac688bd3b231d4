package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/hookgate/hookgate/load"
)

func newGenerateCommand() *cobra.Command {
	var g load.Generator
	var output string
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Write made-up events, one per line, for replay",
		Long: `Write events of the default source as NDJSON: messageId, eventType, orderingKey, sequence
(from 1 within each ordering key) and a payload. The same flags write the same bytes,
including message ids; another --seed writes other events. Repetitions are byte for byte.`,
		Example: `  hookgate generate --count 30000 | hookgate replay
  hookgate generate --count 1000 --duplicates 5 --output events.ndjson`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output == "-" {
				return g.Generate(cmd.Context(), cmd.OutOrStdout())
			}
			file, err := load.CreateOutput(output)
			if err != nil {
				return err
			}
			return errors.Join(g.Generate(cmd.Context(), file), file.Close())
		},
	}
	f := cmd.Flags()
	f.IntVar(&g.Count, "count", 1000, "number of events, including repetitions")
	f.IntVar(&g.Keys, "keys", 100, "number of ordering keys")
	f.Float64Var(&g.DuplicatePercent, "duplicates", 0,
		"percentage of the events that repeat an earlier one")
	f.IntVar(&g.Size, "size", load.DefaultSize, "size of each event in bytes")
	f.Uint64Var(&g.Seed, "seed", 1, "seed of the random numbers")
	f.StringVarP(&output, "output", "o", "-", "`file` to write, new or empty; - is standard output")
	return cmd
}
