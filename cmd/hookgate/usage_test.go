package main

import (
	"io"
	"strings"
	"testing"
)

// TestMistypedCommands: an unknown command of a group is an error and prints no help, and an error
// about the number of arguments has the usage line.
func TestMistypedCommands(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"subscriptions exception billing", `unknown command "exception" for "hookgate subscriptions"`},
		{"dlq --subscription billing lst", `unknown command "lst" for "hookgate dlq"`},
		{"subscriptions exceptions", "usage: hookgate subscriptions exceptions NAME"},
		{"trace a b", "usage: hookgate trace MESSAGE_ID"},
		{"subscriptions", ""},
		{"subscriptions --help", ""},
		{"help subscriptions", ""},
	} {
		var out strings.Builder
		root := newRootCommand()
		root.SetArgs(strings.Fields(c.args))
		root.SetOut(&out)
		root.SetErr(io.Discard)
		cmd, err := root.ExecuteC()
		if err == nil {
			err = unknownCommand(cmd)
		}
		switch {
		case c.want == "" && (err != nil || !strings.Contains(out.String(), "Usage:")):
			t.Errorf("%s: error %v, output %q: want the help", c.args, err, out.String())
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: error %v, want %q", c.args, err, c.want)
		case c.want != "" && out.Len() > 0:
			t.Errorf("%s: prints %q", c.args, out.String())
		}
	}
}
