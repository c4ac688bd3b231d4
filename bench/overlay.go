package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// overlay is a source file that replaces, or is added to, a file of hookgate in a build by this
// program. It removes one guarantee. It changes no file of the project, and no other build can use
// it.
type overlay struct {
	// path of the file from the root of the project. replaces says that the file exists.
	path     string
	replaces bool
	text     string
}

var (
	// withoutFsync lets a commit of SQLite return before the data is on disk.
	withoutFsync = overlay{path: "internal/sqlitedb/durable.go", replaces: true,
		text: `package sqlitedb

const synchronous = "OFF"
`}
	// withoutClaims makes the Redis queue append repetitions too.
	withoutClaims = overlay{path: "queue/redis/bench_without_claims.go", text: `package redis

func init() {
	appendScript = newScript("", "local answers = {}\n"+
		"for i = 1, #KEYS / 2 do answers[i] = "+
		"redis.pcall('XADD', KEYS[2 * i - 1], '*', 'r', ARGV[2 * i]) end\n"+
		"return answers\n")
}
`}
)

// write writes the files for go build -overlay into a folder, and returns the one to pass to it.
func (o overlay) write(dir string) (string, error) {
	path, err := filepath.Abs(o.path)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); (err == nil) != o.replaces {
		return "", fmt.Errorf("overlay %s: replaces a file: %v, but %v;"+
			" run this in the root of the project",
			o.path, o.replaces, err)
	}
	text := filepath.Join(dir, filepath.Base(o.path))
	if err := os.WriteFile(text, []byte(o.text), 0o600); err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {path: text}})
	if err != nil {
		return "", err
	}
	file := text + ".json"
	return file, os.WriteFile(file, list, 0o600)
}

// buildWith builds hookgate with an overlay.
func buildWith(ctx context.Context, s settings, dir string, o overlay) (gate string, err error) {
	file, err := o.write(dir)
	if err != nil {
		return "", err
	}
	return build(ctx, s, dir, "hookgate-"+filepath.Base(o.path), "-overlay", file)
}
