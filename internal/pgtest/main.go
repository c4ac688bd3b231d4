package pgtest

import (
	"context"
	"fmt"
	"os"
	"sync"
)

// shared is the cluster of a test program; it is started when a test first asks for it.
var shared struct {
	once    sync.Once
	cluster *Cluster
	err     error
}

// Shared returns the cluster that all tests of a package share. The program's TestMain must run its
// tests by Run, which stops it.
func Shared() (*Cluster, error) {
	shared.once.Do(func() { shared.cluster, shared.err = Start(context.Background(), Options{}) })
	return shared.cluster, shared.err
}

// Runner is what testing.M has, and goleak wants.
type Runner interface{ Run() int }

// Run returns a runner that runs the tests of m and then stops the shared cluster.
func Run(m Runner) Runner { return runner{m} }

type runner struct{ Runner }

// Run implements Runner.
func (r runner) Run() int {
	code := r.Runner.Run()
	shared.once.Do(func() {}) // it is too late to start it now
	if shared.cluster == nil {
		return code
	}
	if err := shared.cluster.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
