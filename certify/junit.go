package certify

import (
	"encoding/xml"
	"fmt"
	"os"
	"strings"
)

// The XML of JUnit, which CI systems read.
type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string `xml:"name,attr"`
	Tests    int    `xml:"tests,attr"`
	Failures int    `xml:"failures,attr"`
	Errors   int    `xml:"errors,attr"`
	// Properties has the rate of loss that a phase would have seen.
	Properties *junitProperties `xml:"properties,omitempty"`
	Cases      []junitCase      `xml:"testcase"`
}

type junitProperties struct {
	Property []junitProperty `xml:"property"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Failure *junitProblem `xml:"failure,omitempty"`
	Error   *junitProblem `xml:"error,omitempty"`
}

type junitProblem struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes a verdict as JUnit XML: a suite per phase, a test case per criterion. A
// criterion that failed is a failure, and one that could not be measured an error.
func WriteJUnit(path string, v Verdict) error {
	var all junitSuites
	for _, c := range v.Criteria {
		phase, _, ok := strings.Cut(c.ID, "/")
		if !ok {
			phase = "certification"
		}
		if n := len(all.Suites); n == 0 || all.Suites[n-1].Name != phase {
			all.Suites = append(all.Suites, junitSuite{Name: phase, Properties: v.properties(phase)})
		}
		suite := &all.Suites[len(all.Suites)-1]
		test := junitCase{Class: "hookgate.certify." + phase, Name: c.ID + ": " + c.Text}
		problem := &junitProblem{
			Message: fmt.Sprintf("%s, limit %s", c.ValueText(), c.LimitText()),
			Text:    strings.Join(append([]string{c.Note}, c.Findings...), "\n"),
		}
		suite.Tests++
		switch c.Status {
		case Pass:
		case Fail:
			suite.Failures++
			test.Failure = problem
		default:
			suite.Errors++
			test.Error = problem
		}
		suite.Cases = append(suite.Cases, test)
	}
	text, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("write JUnit file %s: %w", path, err)
	}
	if err := os.WriteFile(path, append([]byte(xml.Header), append(text, '\n')...),
		0o644); err != nil {
		return fmt.Errorf("write JUnit file %s: %w", path, err)
	}
	return nil
}

// properties are the properties of the suite of a phase; nil for another suite.
func (v *Verdict) properties(phase string) *junitProperties {
	for i := range v.Phases {
		if v.Phases[i].Phase == phase {
			return &junitProperties{[]junitProperty{{"loss seen with 95%", v.Phases[i].LossText()}}}
		}
	}
	return nil
}
