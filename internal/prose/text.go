package main

import (
	"go/scanner"
	"go/token"
	"regexp"
	"strconv"
	"strings"
)

// paragraph is running text with the line on which each part of it begins.
type paragraph struct {
	text  string
	parts []part // ascending
}

type part struct{ offset, line int }

// add appends a line of text.
func (p *paragraph) add(text string, line int) {
	if p.text != "" {
		p.text += " "
	}
	p.parts = append(p.parts, part{len(p.text), line})
	p.text += strings.TrimSpace(text)
}

func (p *paragraph) lineAt(offset int) (line int) {
	for _, part := range p.parts {
		if part.offset > offset {
			break
		}
		line = part.line
	}
	return line
}

// sentence is a part of a paragraph. In masked, which is as long as raw, code and addresses are
// replaced by letters, so that only English is judged.
type sentence struct {
	raw, masked string
	offset      int
	in          *paragraph
}

func (s sentence) lineAt(offset int) int { return s.in.lineAt(s.offset + offset) }

var (
	code     = regexp.MustCompile("`[^`]*`")
	link     = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	between  = regexp.MustCompile(`[.!?:;]["')]*\s+["(*_]*[A-ZÀ-Þ]`)
	emphasis = " *_|"
)

// mask replaces code by letters and the addresses of links by spaces, without changing offsets.
func mask(text string) string {
	b := []byte(code.ReplaceAllStringFunc(text, func(s string) string {
		return "X" + strings.Repeat("x", len(s)-1)
	}))
	for _, m := range link.FindAllSubmatchIndex(b, -1) {
		for i := m[0]; i < m[1]; i++ {
			if i < m[2] || i >= m[3] {
				b[i] = ' '
			}
		}
	}
	return string(b)
}

// sentences splits a paragraph.
func (p *paragraph) sentences() (all []sentence) {
	masked := mask(p.text)
	add := func(start, end int) {
		for start < end && strings.IndexByte(emphasis+"\"(", masked[start]) >= 0 {
			start++
		}
		for start < end && strings.IndexByte(emphasis, masked[end-1]) >= 0 {
			end--
		}
		all = append(all, sentence{p.text[start:end], masked[start:end], start, p})
	}
	start := 0
	for start < len(masked) {
		m := between.FindStringIndex(masked[start:])
		if m == nil {
			break
		}
		end := start + m[0] + 1
		add(start, end)
		start = end
	}
	add(start, len(masked))
	return all
}

// goText returns the comments of a Go file, and its messages if it is not a test.
func goText(name, text string) (all []paragraph) {
	files := token.NewFileSet()
	file := files.AddFile(name, -1, len(text))
	var s scanner.Scanner
	s.Init(file, []byte(text), nil, scanner.ScanComments)
	var comment, message paragraph
	lastLine := 0 // of the comment
	flush := func(p *paragraph) {
		if p.text != "" {
			all = append(all, *p)
		}
		*p = paragraph{}
	}
	joined := false // the token before is a + between parts of a message
	for {
		pos, tok, literal := s.Scan()
		if tok == token.EOF {
			break
		}
		line := file.Line(pos)
		if tok == token.COMMENT {
			// A comment behind code stands alone.
			before := text[file.Offset(file.LineStart(line)):file.Offset(pos)]
			if strings.TrimSpace(before) != "" {
				flush(&comment)
				comment.add(strings.TrimPrefix(literal, "//"), line)
				flush(&comment)
				continue
			}
			for i, l := range strings.Split(strings.TrimSuffix(literal, "*/"), "\n") {
				l = strings.TrimPrefix(strings.TrimPrefix(l, "//"), "/*")
				if line+i > lastLine+1 {
					flush(&comment)
				}
				lastLine = line + i
				switch {
				case strings.TrimSpace(l) == "" || strings.HasPrefix(l, "\t") ||
					strings.HasPrefix(l, "   ") || isDirective(l):
					flush(&comment)
				case strings.HasPrefix(l, "  - ") || strings.HasPrefix(l, " - "):
					flush(&comment)
					comment.add(strings.TrimLeft(l, " -"), line+i)
				default:
					comment.add(l, line+i)
				}
			}
			continue
		}
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		switch {
		case tok == token.STRING:
			if !joined {
				flush(&message)
			}
			value, err := strconv.Unquote(literal)
			if err != nil {
				continue
			}
			for i, l := range strings.Split(value, "\n") {
				at := line
				if strings.HasPrefix(literal, "`") {
					at += i
				}
				if strings.TrimSpace(l) == "" {
					flush(&message)
				} else {
					message.add(l, at)
				}
			}
		case tok != token.ADD:
			flush(&message)
		}
		joined = tok == token.ADD
	}
	flush(&comment)
	flush(&message)
	return all
}

// isDirective reports whether a comment is for a tool, such as //go:embed.
func isDirective(comment string) bool {
	return regexp.MustCompile(`^[a-z]+:[a-z]`).MatchString(comment)
}

var (
	listItem = regexp.MustCompile(`^\s*(?:[-*+]|\d+\.) +`)
	noText   = regexp.MustCompile(`^\s*(?:$|#|!\[|<)`)
)

// markdown returns the paragraphs, list items and table cells of a document.
func markdown(text string) (all []paragraph) {
	var p paragraph
	flush := func() {
		if p.text != "" {
			all = append(all, p)
		}
		p = paragraph{}
	}
	fenced := false
	for i, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			flush()
			fenced = !fenced
		case fenced:
		case noText.MatchString(line):
			flush()
		case strings.HasPrefix(line, "|"):
			flush()
			for _, cell := range strings.Split(strings.Trim(line, "|"), "|") {
				p.add(cell, i+1)
				flush()
			}
		case listItem.MatchString(line):
			flush()
			p.add(listItem.ReplaceAllString(line, ""), i+1)
		default:
			p.add(line, i+1)
		}
	}
	flush()
	return all
}

var yamlKey = regexp.MustCompile(`^\s*(?:- +)?(?:[\w$./{}-]+|"[^"]*"|'[^']*'):(?: +[|>][-+]?$|` +
	` +|$)|^\s*- +`)

// yamlText returns the comments and the values of a YAML file.
func yamlText(text string) (all []paragraph) {
	var p paragraph
	comment := false
	flush := func() {
		if p.text != "" {
			all = append(all, p)
		}
		p = paragraph{}
	}
	for i, line := range strings.Split(text, "\n") {
		c, isComment := strings.CutPrefix(strings.TrimSpace(line), "#")
		key := yamlKey.FindString(line)
		if isComment != comment || key != "" || strings.TrimSpace(line) == "" {
			flush()
		}
		comment = isComment
		if isComment {
			line, key = c, ""
		}
		if rest := strings.Trim(line[len(key):], ` "'`); rest != "" {
			p.add(rest, i+1)
		}
	}
	flush()
	return all
}

var (
	tag    = regexp.MustCompile(`<[^>]*>|\{\{[^}]*\}\}`)
	breaks = regexp.MustCompile(`(?i)^\s*</?(?:p|li|td|th|tr|h\d|div|section|ul|ol|dt|dd|button` +
		`|label)\b`)
)

// htmlText returns the text between the tags of a page.
func htmlText(text string) (all []paragraph) {
	var p paragraph
	for i, line := range strings.Split(text, "\n") {
		if breaks.MatchString(line) && p.text != "" {
			all, p = append(all, p), paragraph{}
		}
		if rest := strings.TrimSpace(tag.ReplaceAllString(line, " ")); rest != "" {
			p.add(rest, i+1)
		}
	}
	return append(all, p)
}

var makeComment = regexp.MustCompile(`^#\s?|^[\w-]+:.*## `)

// makeText returns the comments of a Makefile, and the help of its targets.
func makeText(text string) (all []paragraph) {
	var p paragraph
	flush := func() {
		if p.text != "" {
			all = append(all, p)
		}
		p = paragraph{}
	}
	for i, line := range strings.Split(text, "\n") {
		prefix := makeComment.FindString(line)
		if !strings.HasPrefix(line, "#") {
			flush()
		}
		if prefix != "" {
			p.add(line[len(prefix):], i+1)
		}
	}
	flush()
	return all
}
