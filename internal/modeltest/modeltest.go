// Package modeltest bounds what model tests take of a run of the suite.
package modeltest

import (
	"flag"
	"fmt"
	"os"
)

// Checks makes n the number of random runs of each of pgregory.net/rapid's checks in this process, unless the command line says another.
// It is for the TestMain of a package whose models take seconds for each run.
func Checks(n int) {
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
