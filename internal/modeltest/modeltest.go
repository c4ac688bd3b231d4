// Package modeltest bounds what model tests and chaos tests take of a run of the suite. `make test`
// runs their short form; `make soak`, which sets HOOKGATE_SOAK, runs the long one.
package modeltest

import (
	"flag"
	"fmt"
	"os"
)

// Variable is the environment variable that chooses the long form. A gate would take it for a
// setting that does not exist, so tests that start gates unset it: it is read once.
const Variable = "HOOKGATE_SOAK"

var soak = os.Getenv(Variable) != ""

// Soak reports whether the tests run in their long form.
func Soak() bool { return soak }

// Pick returns how much of something a test does: short in a run of the suite, long in make soak.
func Pick[T any](short, long T) T {
	if Soak() {
		return long
	}
	return short
}

// soakFactor is how many times more random runs a model makes in make soak.
const soakFactor = 20

// Checks makes n the number of random runs of each of pgregory.net/rapid's checks in this process,
// unless the command line says another. It is for the TestMain of a package whose models take long
// for each run.
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
