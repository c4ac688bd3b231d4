// Package e2e tests hookgate from outside: it starts the binary, speaks HTTP to it, and kills it.
//
// It is a module of its own because its tools are large and the gate needs none of them: a browser,
// a validator of OpenAPI documents, servers of Redis and PostgreSQL. The tests share one package so
// that the binary is built once.
package e2e
