package sqlitedb

// synchronous makes each commit wait for the disk. The constant has a file of its own because bench
// replaces the file to measure what the wait costs.
const synchronous = "FULL"
