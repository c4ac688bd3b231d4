package main

import (
	"errors"
	"fmt"
	"io"
	"os"

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
			file, err := createEmpty(output)
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

// createEmpty opens a file for writing that only its owner can read. It does not touch a file that
// has content.
func createEmpty(path string) (io.WriteCloser, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create output: %w", err)
	}
	info, err := file.Stat()
	switch {
	case err != nil:
		err = fmt.Errorf("create output: %w", err)
	case info.Size() > 0:
		err = fmt.Errorf("%s exists and is not empty: remove it or name another file", path)
	case info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 && file.Chmod(0o600) != nil:
		err = fmt.Errorf("%s can be read by others and belongs to another user: name another file", path)
	default:
		return file, nil
	}
	file.Close()
	return nil, err
}
