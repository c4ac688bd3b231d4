package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

//go:generate go test . -run ^TestReference$ -update

var update = flag.Bool("update", false, "write docs/reference/cli.md")

const referenceFile = "../../docs/reference/cli.md"

// TestReference: docs/reference/cli.md is what the commands say of themselves.
func TestReference(t *testing.T) {
	t.Setenv("HOOKGATE_DATA_DIR", "") // a default in the help
	var b strings.Builder
	writeReference(&b, newRootCommand())
	if *update {
		if err := os.WriteFile(referenceFile, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != b.String() {
		t.Errorf("%s is out of date: run go generate ./cmd/hookgate", referenceFile)
	}
}

func writeReference(b *strings.Builder, root *cobra.Command) {
	b.WriteString(`# Command line

<!-- Generated from the help of the commands by "go generate ./cmd/hookgate". Do not edit. -->

`)
	writeText(b, root.Long)
	for _, group := range root.Groups() {
		fmt.Fprintf(b, "## %s\n\n", strings.TrimSuffix(group.Title, ":"))
		for _, c := range root.Commands() {
			if c.GroupID == group.ID {
				writeCommand(b, c)
			}
		}
	}
}

// writeCommand writes a section for a command, then one for each of its own commands.
func writeCommand(b *strings.Builder, c *cobra.Command) {
	level := "###"
	if c.Parent().HasParent() {
		level = "####"
	}
	fmt.Fprintf(b, "%s %s\n\n", level, c.CommandPath())
	if writeText(b, c.Long); c.Long == "" {
		fmt.Fprintf(b, "%s.\n\n", c.Short)
	}
	if c.Runnable() {
		c.InitDefaultHelpFlag()
		fmt.Fprintf(b, "```sh\n%s\n```\n\n", c.UseLine())
	}
	if c.Example != "" {
		fmt.Fprintf(b, "Examples:\n\n```sh\n%s\n```\n\n", outdent(c.Example))
	}
	writeFlags(b, c.LocalFlags())
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			writeCommand(b, sub)
		}
	}
}

// writeText writes paragraphs. Lines that begin with two spaces are a block of code.
func writeText(b *strings.Builder, text string) {
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		switch {
		case paragraph == "":
		case strings.HasPrefix(paragraph, "  "):
			fmt.Fprintf(b, "```text\n%s\n```\n\n", outdent(paragraph))
		default:
			fmt.Fprintf(b, "%s\n\n", paragraph)
		}
	}
}

// outdent removes two spaces at the beginning of each line.
func outdent(text string) string {
	return strings.ReplaceAll(strings.TrimPrefix(text, "  "), "\n  ", "\n")
}

// writeFlags writes a table of flags, if there are any beside --help.
func writeFlags(b *strings.Builder, flags *pflag.FlagSet) {
	titled := false
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if !titled {
			b.WriteString("| flag | default | meaning |\n| --- | --- | --- |\n")
			titled = true
		}
		value, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if value != "" {
			name += " " + value
		}
		standard := ""
		if f.DefValue != "" && f.DefValue != "[]" && f.DefValue != "false" {
			standard = "`" + f.DefValue + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, standard, strings.ReplaceAll(usage, "|", `\|`))
	})
	if titled {
		b.WriteString("\n")
	}
}
