// Package secret resolves settings with secrets. A setting has the secret itself, or a reference to
// an environment variable or a file. A secret is one value: the package does not split it at
// commas, and returns an error for a text that looks like a mistake.
package secret

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Exact, before a secret or a reference, says that commas, spaces and quotation marks belong to it.
const Exact = "exact:"

// oldMinimum is the least length of a secret in the lists of earlier versions.
const oldMinimum = 8

// inEnvironment is an environment variable inside a setting.
var inEnvironment = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// Resolve returns the secret of a setting:
//
//	env:NAME, ${NAME}   the value of that environment variable
//	file:PATH           the content of that file; ${NAME} in the path stands for a variable's value
//	anything else       the secret itself, in which ${NAME} stands for a variable's value
//	exact:…             the same, without the check for mistakes, and without ${NAME} in a secret
//
// An error names the variable or file and never shows the secret.
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

// lookUp returns the text that a setting stands for, and the beginning of an error about it.
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
			return "", "", fmt.Errorf("environment variable %s has a comma, at which earlier versions"+
				" split it into %d secrets. If it is one secret, write %senv:%s. If it is several,"+
				" put each into a variable of its own and list them", name, n, Exact, name)
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

// Refers reports whether a setting only refers to a secret, so that people may see it.
func Refers(setting string) bool {
	setting = strings.TrimPrefix(setting, Exact)
	return strings.HasPrefix(setting, "env:") || strings.HasPrefix(setting, "file:") ||
		setting != "" && inEnvironment.FindString(setting) == setting
}

// ReadFile returns the secret in a file, as Resolve does for file:PATH. Other users must not be
// able to read the file.
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

// Variable resolves the environment variable name as a setting. It returns "" if the variable is
// empty.
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

// CheckVariable returns an error if the value of a variable may be meant as several secrets, or has
// ${NAME} inside. list is the setting that takes several secrets, for the error; it may be empty.
func CheckVariable(name, value, list string) error {
	if strings.HasPrefix(value, Exact) {
		return nil
	}
	if n := OldList(value); n > 0 {
		several := "keep the first and put the second into " + NextOf(name)
		if list != "" && (n > 2 || strings.HasSuffix(name, NextOf(""))) {
			several = "list them in hookgate.yaml as " + list
		}
		return fmt.Errorf("%s has a comma, at which earlier versions split it into %d secrets. If it"+
			" is one"+
			" secret, put %s before it. If it is several, %s", name, n, Exact, several)
	}
	if m := inEnvironment.FindString(value); m != "" && m != value &&
		!strings.HasPrefix(value, "file:") {
		return fmt.Errorf("%s holds %s. If that is part of the secret, put %s before the secret; if it"+
			" stands for a variable, write the secret without it", name, m, Exact)
	}
	return nil
}

// NextOf returns the name of the variable with the second secret during a rotation.
func NextOf(name string) string { return name + "_NEXT" }

// OldList returns into how many secrets earlier versions split a value; 0 if they did not split it,
// or rejected it.
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

// trimmed removes what editors and shells add: a byte order mark, and line ends after the secret.
func trimmed(text string) string {
	return strings.TrimRight(strings.TrimPrefix(text, "\ufeff"), "\r\n")
}

const putExact = "; if that is part of the secret, put " + Exact + " before it in the setting"

// mistake returns in what way a secret looks as if too much or too little was pasted; "" if it does
// not.
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
		return "looks like a reference (env:, file:, exact:, ${NAME}), which works only in the setting" +
			" itself and" +
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

// isReference reports whether a text has the form of a reference. As a secret it could be guessed.
func isReference(text string) bool {
	kind, _, ok := strings.Cut(text, ":")
	switch strings.ToLower(kind) {
	case "env", "file", "exact":
		return ok
	}
	return text != "" && inEnvironment.FindString(text) == text
}

// unseen reports whether a character is invisible at the end of a line.
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
