package inbox

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPage: the page for programs in other languages has the statements of this package. So the
// tests that run those of the page run these too.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../docs/concepts/delivery.md")
	if err != nil {
		t.Fatal(err)
	}
	sqlBlock, comment := regexp.MustCompile("(?s)```sql\n(.*?)```"), regexp.MustCompile(`(?m)^--.*\n`)
	// The package has the age as a number of seconds.
	ages := strings.NewReplacer("interval '30 days'", "interval ':seconds seconds'",
		"INTERVAL 30 DAY", "INTERVAL :seconds SECOND", "30 * 86400", ":seconds")
	for _, test := range []struct {
		heading string
		short   bool
		dialect Dialect
	}{
		{"### PostgreSQL", false, PostgreSQL}, {"### MySQL", false, MySQL},
		{"### SQLite", false, SQLite}, {"### PostgreSQL and SQLite, short", true, PostgreSQL},
		{"### PostgreSQL and SQLite, short", true, SQLite}, {"### MySQL, short", true, MySQL},
	} {
		_, section, _ := strings.Cut(string(page), "\n"+test.heading+"\n")
		section, _, _ = strings.Cut(section, "\n#")
		var want []string
		for _, block := range sqlBlock.FindAllStringSubmatch(section, -1) {
			text := comment.ReplaceAllString(ages.Replace(block[1]), "")
			text = parameter.ReplaceAllStringFunc(text, func(name string) string {
				if name == ":seconds" {
					return name
				}
				return "?"
			})
			for _, statement := range strings.Split(text, ";\n") {
				if statement != "" {
					want = append(want, statement)
				}
			}
		}
		all, table := general[test.dialect], "inbox"
		if test.short {
			all, table = shortRule[test.dialect], "inbox_keys"
		}
		all = all.named(table)
		got := []string{strings.Replace(all.create, "IF NOT EXISTS ", "", 1)}
		for _, s := range all.first {
			got = append(got, s.text)
		}
		got = append(got, all.prune)
		for i := range got {
			got[i] = regexp.MustCompile(`\$\d`).ReplaceAllString(got[i], "?")
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s\npackage: %q\npage:    %q", test.heading, got, want)
		}
	}
}
