//go:build !bench_without

package sqlitedb

// synchronous makes each commit wait for the disk.
const synchronous = "FULL"
