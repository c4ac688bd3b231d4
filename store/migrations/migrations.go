// Package migrations contains the schemas of both stores as goose migrations.
package migrations

import (
	"embed"
	"io/fs"
)

//go:embed sqlite/*.sql postgres/*.sql
var files embed.FS

// SQLite returns the migrations of the embedded store.
func SQLite() fs.FS { return sub("sqlite") }

// Postgres returns the migrations of the shared store.
func Postgres() fs.FS { return sub("postgres") }

func sub(folder string) fs.FS {
	files, err := fs.Sub(files, folder)
	if err != nil {
		panic(err) // the folder is part of the program
	}
	return files
}
