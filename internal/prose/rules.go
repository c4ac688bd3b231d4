package main

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Names of the rules.
const (
	ruleOpener = "sentences that open with a clause"
	ruleWord   = "old words"
	ruleLine   = "long Go lines"
)

// maxColumns is how many characters a line of Go may have. A tab counts as one.
const maxColumns = 100

// finding is a place in a file that breaks a rule.
type finding struct {
	rule     string
	path     string
	line     int
	sentence string
	advice   string
}

func (f finding) String() string {
	return fmt.Sprintf("%s:%d: %s\n\t%s", f.path, f.line, f.advice, f.sentence)
}

// opener matches a sentence that opens with a clause. A question is not one: isClause says so.
var opener = regexp.MustCompile(`(?i)^(?:and |but |so |if not, )?` +
	`(what|who|whoever|whatever|that which|which of|how much|how many|how long|whose) `)

const openerAdvice = "the sentence opens with a clause (%q): open with the subject," +
	" and name who acts"

// words are words and phrases that have plain replacements.
var words = compile([]replacement{
	{`heed(?:s|ed|ing)?`, "follow, obey, apply"},
	{`unfit`, "misconfigured, invalid"},
	{`who(?:so)?ever`, "anyone who, each client that; or name the actor"},
	{`whatever`, "any, every; or name the thing"},
	{`anew`, "again"},
	{`there(?:of|in|upon|to)`, "of it, in it"},
	{`wherein`, "where, in which"},
	{`hitherto`, "until now"},
	{`henceforth`, "from now on"},
	{`lest`, "so that … not"},
	{`ought`, "should, must"},
	{`(?:is|are|was|were|be|been|being) told(?: apart| from)?`,
		"receives, is notified; or name who says it"},
	{`it is said`, "name the page, the setting, or the person that says it"},
	{`(?:is|are) to be`, "must be, will be; or the imperative"},
	{`in droves`, "in bursts, in large numbers"},
	{`for good and all`, "permanently"},
	{`as good as`, "almost, equivalent to"},
	{`the (?:service|release) before`, "the previous service, the previous release"},
	{`pass(?:es|ed|ing) over`, "skip, ignore"},
	{`does not do`, "is not possible, is not enough; or say what fails"},
	{`(?:is|are) of (?:no )?use`, "helps, is useful; does not help"},
	{`worth the name`, "delete it"},
	{`gentler`, "lower, slower, smaller"},
	{`knows nothing of`, "does not depend on, does not import"},
	{`looks at`, "reads, checks, compares"},
	{`tak(?:e|es|en|ing) up|took up`, "start, accept, continue"},
	{`patience`, "timeout, limit, number of attempts"},
	{`bur(?:y|ies|ied)`, "dead-letter, write as a dead letter"},
})

type replacement struct{ pattern, instead string }

type word struct {
	pattern *regexp.Regexp
	instead string
}

func compile(list []replacement) (all []word) {
	for _, r := range list {
		all = append(all, word{regexp.MustCompile(`(?i)\b(?:` + r.pattern + `)\b`), r.instead})
	}
	return all
}

// check returns the findings of a file, or none if it is not a text that is written here.
func check(name, text string) (found []finding) {
	if strings.Contains(name, "testdata/") || strings.Contains(name, "/vendor/") ||
		strings.HasPrefix(name, "internal/prose/") {
		return nil
	}
	var paragraphs []paragraph
	switch path.Ext(name) {
	case ".go":
		paragraphs = goText(name, text)
		found = longLines(name, text)
	case ".md":
		paragraphs = markdown(text)
	case ".yaml", ".yml":
		paragraphs = yamlText(text)
	case ".html":
		paragraphs = htmlText(text)
	default:
		if path.Base(name) == "Makefile" {
			paragraphs = makeText(text)
		}
	}
	for _, p := range paragraphs {
		for _, s := range p.sentences() {
			found = append(found, s.check(name)...)
		}
	}
	return found
}

func longLines(name, text string) (found []finding) {
	for i, line := range strings.Split(text, "\n") {
		if n := utf8.RuneCountInString(line); n > maxColumns {
			found = append(found, finding{ruleLine, name, i + 1, strings.TrimSpace(line),
				fmt.Sprintf("the line has %d columns: break it at %d", n, maxColumns)})
		}
	}
	return found
}

// minWords is how many words a text needs to be a sentence and not a name.
const minWords = 4

func (s sentence) check(name string) (found []finding) {
	if len(strings.Fields(s.masked)) < minWords {
		return nil
	}
	add := func(rule string, offset int, advice string) {
		found = append(found, finding{rule, name, s.lineAt(offset), s.raw, advice})
	}
	if m := opener.FindStringSubmatch(s.masked); m != nil && s.isClause(m[0]) {
		add(ruleOpener, 0, fmt.Sprintf(openerAdvice, m[1]))
	}
	for _, w := range words {
		for _, at := range w.pattern.FindAllStringIndex(s.masked, -1) {
			if told := s.masked[:at[1]]; strings.HasSuffix(told, " told apart") ||
				strings.HasSuffix(told, " told from") {
				continue
			}
			add(ruleWord, at[0], fmt.Sprintf("%q: write %s", s.masked[at[0]:at[1]], w.instead))
		}
	}
	return found
}

// isClause reports whether a sentence with the opener is neither a question nor begins "What if" or
// "What to".
func (s sentence) isClause(opener string) bool {
	rest := s.masked[len(opener):]
	return !strings.Contains(rest, "?") && !strings.HasPrefix(rest, "if ") &&
		!strings.HasPrefix(rest, "to ")
}
