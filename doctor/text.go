package doctor

import (
	"fmt"
	"io"
	"strings"
)

// WriteText writes the findings by area, then how many there are of each level.
func (r *Report) WriteText(out io.Writer) error {
	var b strings.Builder
	area := ""
	counts := map[Level]int{}
	for _, f := range r.Findings {
		if f.Area != area {
			area = f.Area
			fmt.Fprintln(&b, area)
		}
		counts[f.Level]++
		fmt.Fprintf(&b, "  %-10s  %s: %s\n", f.Level, f.What, f.Seen)
		if f.Want != "" {
			fmt.Fprintf(&b, "  %-10s  want: %s\n", "", f.Want)
		}
		if f.Do != "" {
			fmt.Fprintf(&b, "  %-10s  → %s\n", "", f.Do)
		}
	}
	var sum []string
	for level := LosesData; level >= OK; level-- {
		if n := counts[level]; n > 0 {
			sum = append(sum, fmt.Sprintf("%d %s", n, level))
		}
	}
	fmt.Fprintf(&b, "\n%s\n", strings.Join(sum, ", "))
	_, err := io.WriteString(out, b.String())
	return err
}
