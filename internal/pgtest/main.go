package pgtest

import (
	"context"
	"fmt"
	"os"
	"sync"
)

// shared is the cluster of a test program. The first test that needs it starts it.
var shared struct {
	once    sync.Once
	cluster *Cluster
	err     error
}

// Shared returns the cluster that all tests of a package share. TestMain must call Run, which stops
// the cluster.
func Shared() (*Cluster, error) {
	shared.once.Do(func() { shared.cluster, shared.err = Start(context.Background(), Options{}) })
	return shared.cluster, shared.err
}

// Runner has the method of testing.M that goleak needs.
type Runner interface{ Run() int }

// Run returns a runner that runs the tests of m and then stops the shared cluster.
func Run(m Runner) Runner { return runner{m} }

type runner struct{ Runner }

// Run implements Runner.
func (r runner) Run() int {
	code := r.Runner.Run()
	shared.once.Do(func() {}) // no test starts it after this
	if shared.cluster == nil {
		return code
	}
	if err := shared.cluster.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
