// Package modeltest bounds the time of model tests and chaos tests. `make test` runs their short
// form. `make soak`, which sets HOOKGATE_SOAK, runs the long one.
package modeltest

import (
	"flag"
	"fmt"
	"os"
)

// Variable is the environment variable that chooses the long form. It is read once, at the start of
// the test process. Tests that start a gate unset it, because a gate would reject it as an unknown
// setting.
const Variable = "HOOKGATE_SOAK"

var soak = os.Getenv(Variable) != ""

// Soak reports whether the tests run in their long form.
func Soak() bool { return soak }

// Pick returns short, and in make soak long. Use it for the amount of work of a test.
func Pick[T any](short, long T) T {
	if Soak() {
		return long
	}
	return short
}

// soakFactor multiplies the number of random runs of a model in make soak.
const soakFactor = 20

// Checks makes n the number of random runs of each check of pgregory.net/rapid in this process,
// unless the command line sets another number. Call it in the TestMain of a package whose models
// are slow.
func Checks(n int) {
	n = Pick(n, n*soakFactor)
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "rapid.checks" })
	if set {
		return
	}
	if err := flag.Set("rapid.checks", fmt.Sprint(n)); err != nil {
		fmt.Fprintln(os.Stderr, "set the number of random runs:", err)
		os.Exit(2)
	}
}
