// Package secret reads secrets as people write them into settings: the secret itself, or a
// reference to an environment variable or a file. A secret is one value, whole: the package cuts
// nothing at a comma, and returns an error for a text that looks like a mistake instead of using it
// as another key.
package secret

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Exact before a secret or a reference says that commas, spaces and quotation marks are meant.
const Exact = "exact:"

// oldMinimum is the length below which earlier releases refused each part of a list.
const oldMinimum = 8

// inEnvironment is an environment variable inside a setting.
var inEnvironment = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// Resolve returns the secret of a setting:
//
//	env:NAME, ${NAME}   the value of that environment variable
//	file:PATH           the content of that file; ${NAME} in the path stands for a variable's value
//	anything else       the secret itself, in which ${NAME} stands for a variable's value
//	exact:…             the same, without the search for mistakes, and without ${NAME} in a secret
//
// An error names the place and never shows the secret.
func Resolve(setting string) (string, error) {
	setting, exact := strings.CutPrefix(setting, Exact)
	text, where, err := lookUp(setting, exact)
	if err != nil {
		return "", err
	}
	text = trimmed(text)
	if text == "" {
		return "", fmt.Errorf("%sis empty", where)
	}
	if !exact {
		if reason := mistake(text); reason != "" {
			return "", fmt.Errorf("%s%s", where, reason)
		}
	}
	return text, nil
}

// lookUp returns what a setting stands for, and how an error about it begins.
func lookUp(setting string, exact bool) (text, where string, err error) {
	name, ok := strings.CutPrefix(setting, "env:")
	if m := inEnvironment.FindStringSubmatch(setting); m != nil && m[0] == setting {
		name, ok = m[1], true
	}
	if ok {
		if text = os.Getenv(name); text == "" {
			return "", "", fmt.Errorf("environment variable %s is empty or not set", name)
		}
		if n := OldList(text); n > 0 && !exact {
			return "", "", fmt.Errorf("environment variable %s holds a comma, where earlier releases"+
				" cut it into %d secrets. If it holds one secret, write %senv:%s. If it holds several,"+
				" give each a variable of its own and list them", name, n, Exact, name)
		}
		return text, "environment variable " + name + " ", nil
	}
	path, isFile := strings.CutPrefix(setting, "file:")
	if !isFile && exact {
		return setting, "", nil
	}
	for _, m := range inEnvironment.FindAllStringSubmatch(setting, -1) {
		if os.Getenv(m[1]) == "" {
			return "", "", fmt.Errorf("environment variable %s is empty or not set", m[1])
		}
	}
	expand := func(s string) string {
		return inEnvironment.ReplaceAllStringFunc(s,
			func(m string) string { return os.Getenv(m[2 : len(m)-1]) })
	}
	if !isFile {
		return expand(setting), "", nil
	}
	path = expand(path)
	content, err := readPrivate(path)
	return content, "secret file " + path + " ", err
}

// ReadFile returns the secret in a file that nobody else may read, as Resolve does with file:PATH.
func ReadFile(path string) (string, error) {
	text, err := readPrivate(path)
	if err != nil {
		return "", err
	}
	if text = trimmed(text); text == "" {
		return "", fmt.Errorf("secret file %s is empty", path)
	}
	if reason := mistake(text); reason != "" {
		return "", fmt.Errorf("secret file %s %s", path, reason)
	}
	return text, nil
}

// Variable returns the secret that the environment variable name holds, or refers to as a setting
// does. It is empty if the variable is.
func Variable(getenv func(string) string, name string) (string, error) {
	value := getenv(name)
	if value == "" {
		return "", nil
	}
	if err := CheckVariable(name, value, ""); err != nil {
		return "", err
	}
	text, err := Resolve(value)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return text, nil
}

// CheckVariable finds out whether the value of a variable can be taken for one secret. list is the
// setting that takes any number of them; it may be empty.
func CheckVariable(name, value, list string) error {
	if strings.HasPrefix(value, Exact) {
		return nil
	}
	if n := OldList(value); n > 0 {
		several := "leave the first and put the second into " + NextOf(name)
		if list != "" && (n > 2 || strings.HasSuffix(name, NextOf(""))) {
			several = "list them in hookgate.yaml as " + list
		}
		return fmt.Errorf("%s holds a comma, where earlier releases cut it into %d secrets. If it is one"+
			" secret, put %s before it. If it is several, %s", name, n, Exact, several)
	}
	if m := inEnvironment.FindString(value); m != "" && m != value &&
		!strings.HasPrefix(value, "file:") {
		return fmt.Errorf("%s holds %s. If that is part of the secret, put %s before the secret; if it"+
			" stands for a variable, write the secret without it", name, m, Exact)
	}
	return nil
}

// NextOf is the variable that holds the second secret during a rotation.
func NextOf(name string) string { return name + "_NEXT" }

// OldList returns how many secrets earlier releases made of a value, or 0 if they took it for one
// or refused it.
func OldList(value string) int {
	parts := strings.Split(value, ",")
	for _, part := range parts {
		if len(strings.TrimSpace(part)) < oldMinimum {
			return 0
		}
	}
	if len(parts) == 1 {
		return 0
	}
	return len(parts)
}

// trimmed removes what editors and shells add and no sender means: a byte order mark, and the ends
// of lines behind the secret.
func trimmed(text string) string {
	return strings.TrimRight(strings.TrimPrefix(text, "\ufeff"), "\r\n")
}

const putExact = "; if that is part of the secret, put " + Exact + " before it in the setting"

// mistake says in what way a secret looks as if more or less was pasted than was meant.
func mistake(text string) string {
	first, _ := utf8.DecodeRuneInString(text)
	last, _ := utf8.DecodeLastRuneInString(text)
	switch {
	case strings.HasPrefix(text, "\xff\xfe"), strings.HasPrefix(text, "\xfe\xff"):
		return "is UTF-16: save it as UTF-8"
	case !utf8.ValidString(text):
		return "is not UTF-8" + putExact
	case unseen(first), unseen(last):
		return "begins or ends with white space" + putExact
	case quoted(first, last) && text != string(first):
		return "is in quotation marks: write it without" + putExact
	case isReference(text):
		return "looks like a reference (env:, file:, exact:, ${NAME}), which works only in the setting itself and" +
			" in lower case: put the secret there" + putExact
	case strings.HasPrefix(text, "-----BEGIN "):
		return ""
	case strings.ContainsAny(text, "\r\n"):
		return "has several lines: a file or variable holds one secret; list several of them" + putExact
	case strings.ContainsFunc(text, unicode.IsControl):
		return "has a control character" + putExact
	}
	return ""
}

// isReference reports whether a text has the form of a setting that names a secret. Used as a key,
// it would be one that others can guess.
func isReference(text string) bool {
	kind, _, ok := strings.Cut(text, ":")
	switch strings.ToLower(kind) {
	case "env", "file", "exact":
		return ok
	}
	return text != "" && inEnvironment.FindString(text) == text
}

// unseen reports whether a character is one that nobody sees at the end of a line.
func unseen(r rune) bool {
	return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Z, r)
}

func quoted(first, last rune) bool {
	switch first {
	case '"', '\'', '`':
		return last == first
	case '“', '„', '”':
		return last == '”' || last == '“'
	case '‘', '‚', '’':
		return last == '’' || last == '‘'
	case '«':
		return last == '»'
	}
	return false
}
