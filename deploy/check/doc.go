// Package check holds tests of the files in deploy: see deploy/README.md.
package check
