// Prose finds English that is hard to read in comments, documents, and messages of this repository.
//
//	go run ./internal/prose [FOLDER OR FILE ...]
//
// It prints a line for each finding: where it is and what to write instead. Without arguments it
// checks all files that Git tracks. It judges form only: a text without findings can still be bad.
//
// The rules are in rules.go. A finding that has to stay is listed in exceptions.txt with a reason.
package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// budgets is the number of findings of each rule that the whole tree may have. Some lines of Go are
// too long because they have a signature or a query that is clearer in one piece.
var budgets = map[string]int{ruleOpener: 0, ruleWord: 0, ruleLine: 185}

//go:embed exceptions.txt
var exceptionList string

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "prose:", err)
		os.Exit(1)
	}
}

func run(paths []string) error {
	files, err := trackedFiles(paths)
	if err != nil {
		return err
	}
	exceptions, err := parseExceptions(exceptionList)
	if err != nil {
		return err
	}
	found := map[string][]finding{}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			continue // deleted, and not committed yet
		} else if err != nil {
			return err
		}
		for _, f := range check(path, string(text)) {
			if !exceptions.cover(f) {
				found[f.rule] = append(found[f.rule], f)
			}
		}
	}
	all, failed := len(paths) == 0, false
	for _, rule := range []string{ruleOpener, ruleWord, ruleLine} {
		if all && len(found[rule]) <= budgets[rule] {
			continue
		}
		for _, f := range found[rule] {
			fmt.Println(f)
			failed = true
		}
		if all {
			fmt.Printf("%s: %d findings, at most %d allowed\n", rule, len(found[rule]), budgets[rule])
		}
	}
	if all {
		for _, e := range exceptions {
			if !e.used {
				fmt.Printf("internal/prose/exceptions.txt:%d: covers nothing: delete it\n", e.line)
				failed = true
			}
		}
	}
	if failed {
		return fmt.Errorf("rewrite these texts, or list them in internal/prose/exceptions.txt with a" +
			" reason")
	}
	return nil
}

// trackedFiles returns the files under paths that Git tracks, or all if there are no paths.
func trackedFiles(paths []string) ([]string, error) {
	out, err := exec.Command("git", append([]string{"ls-files", "-z", "--"}, paths...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("list the files that Git tracks: %w", err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 }), nil
}

// exception is a line of exceptions.txt: findings in the file path whose sentence has the text stay.
type exception struct {
	path, text string
	line       int
	used       bool
}

type exceptions []*exception

func (all exceptions) cover(f finding) bool {
	for _, e := range all {
		if e.path == f.path && strings.Contains(f.sentence, e.text) {
			e.used = true
			return true
		}
	}
	return false
}

func parseExceptions(list string) (all exceptions, err error) {
	reason := false
	for i, line := range strings.Split(list, "\n") {
		if strings.HasPrefix(line, "#") {
			reason = true
			continue
		}
		if strings.TrimSpace(line) == "" {
			reason = false
			continue
		}
		path, text, ok := strings.Cut(line, ": ")
		if !ok || !reason {
			return nil, fmt.Errorf("exceptions.txt:%d: want FILE: TEXT below a comment with the reason",
				i+1)
		}
		all = append(all, &exception{path: path, text: text, line: i + 1})
	}
	return all, nil
}
