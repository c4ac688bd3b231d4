package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	long := "// " + strings.Repeat("x", maxColumns)
	for _, test := range []struct {
		name, text string
		want       []string // line: rule
	}{
		{"a.go", "package a\n\n// What is stored is kept for a year.\nvar a int\n",
			[]string{"3: " + ruleOpener}},
		{"a.go", "package a\n\n// It is kept for a year. Who\n// reads it later does not matter.\n",
			[]string{"3: " + ruleOpener}},
		{"a.go", "package a\n\n// It is kept: is that\n// as good as the other thing?\n",
			[]string{"4: " + ruleWord}},
		{"a.go", "package a\n\n// What if it is not kept for a year.\n// What is to do? Nothing.\n", nil},
		{"a.go", "package a\n\n//\twhoever reads this code block\n\n//go:generate whoever does it for" +
			" us\n", nil},
		{"a.go", "package a\n\nvar s = \"the key is for\" +\n\t\" whoever sends something\"\n",
			[]string{"4: " + ruleWord}},
		{"a.go", "package a\n\nvar (\n\ta int // what is here\n\tb int // whoever it is for us\n)\n",
			[]string{"5: " + ruleOpener, "5: " + ruleWord}},
		{"a_test.go", "package a\n\nvar s = \"the key is for whoever sends something\"\n", nil},
		{"a.go", "package a\n\n" + long + "\n", []string{"3: " + ruleLine}},
		{"a.md", "# What this heading says is fine\n\nBut what\nfollows is not `what is code` fine.\n",
			[]string{"3: " + ruleOpener}},
		{"a.md", "| name | What a cell says counts too |\n", []string{"1: " + ruleOpener}},
		{"a.md", "- one\n- it heeds [whoever](x) it wants\n\n```\nwhoever reads a code block\n```\n",
			[]string{"2: " + ruleWord, "2: " + ruleWord}},
		{"a.yaml", "a: # comment\n# Whatever is here counts\n  summary:" +
			" The gate is\n    told about it later.\n",
			[]string{"2: " + ruleOpener, "2: " + ruleWord, "3: " + ruleWord}},
		{"a.html", "<p>It does as <b>it</b> is <i>told</i> by us</p>\n<td>It is told apart," +
			" is told so</td>\n", []string{"2: " + ruleWord}},
		{"Makefile", "help: ## What the targets are for us\n\techo what is in recipes\n# Whoever" +
			" reads it all\n",
			[]string{"1: " + ruleOpener, "3: " + ruleOpener, "3: " + ruleWord}},
		{"a/testdata/a.md", "It is for whoever reads it.\n", nil},
	} {
		var got []string
		for _, f := range check(test.name, test.text) {
			got = append(got, fmt.Sprintf("%d: %s", f.line, f.rule))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s %q:\ngot  %q\nwant %q", test.name, test.text, got, test.want)
		}
	}
}

func TestExceptions(t *testing.T) {
	all, err := parseExceptions("# The title of a page.\na.md: whoever\n")
	if err != nil {
		t.Fatal(err)
	}
	if !all.cover(finding{path: "a.md", sentence: "It is for whoever reads it."}) ||
		all.cover(finding{path: "b.md", sentence: "It is for whoever reads it."}) || !all[0].used {
		t.Errorf("the exception %+v covers the wrong findings", all[0])
	}
	for _, list := range []string{"a.md: whoever\n", "# reason\n\na.md: whoever\n",
		"# reason\na.md\n"} {
		if _, err := parseExceptions(list); err == nil {
			t.Errorf("the list %q is accepted", list)
		}
	}
}
