package sqlitedb

// synchronous makes each commit wait for the disk. The constant is in a file of its own because
// bench replaces the file to measure the cost of waiting.
const synchronous = "FULL"
