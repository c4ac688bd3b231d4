package certify

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// shownFindings is how many findings of a criterion WriteText shows.
const shownFindings = 3

// WriteText writes a verdict for people: tables of phases and criteria, the findings of what did
// not pass, and where the evidence is.
func (v *Verdict) WriteText(w io.Writer, dir string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PHASE\tREQUESTS\tRATE\tP50 MS\tP95 MS\tP99 MS\tMAX MS\tERRORS\tDRAIN\t"+
		"LOSS SEEN\tSTATUS")
	for _, p := range v.Phases {
		fmt.Fprintf(t, "%s\t%d\t%.0f/s\t%.2f\t%.2f\t%.2f\t%.2f\t%d\t%.1f s\t%s\t%s\n", p.Phase,
			p.Requests, p.Rate, p.P50, p.P95, p.P99, p.Max, p.Errors, p.Drain, p.LossText(), p.Status)
	}
	if err := v.writeDeliveries(t); err != nil {
		return err
	}
	fmt.Fprintln(t)
	fmt.Fprintln(t, "CRITERION\tVALUE\tLIMIT\tMARGIN\tSTATUS")
	for _, c := range v.Criteria {
		value, margin := c.ValueText(), c.MarginText()
		if c.Status == Invalid {
			margin = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", c.ID, value, c.LimitText(), margin, c.Status)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, c := range v.Criteria {
		if c.Status == Pass {
			continue
		}
		fmt.Fprintf(w, "\n%s %s: %s\n", c.Status, c.ID, c.Text)
		if c.Note != "" {
			fmt.Fprintf(w, "  %s\n", c.Note)
		}
		for _, finding := range c.Findings[:min(shownFindings, len(c.Findings))] {
			fmt.Fprintf(w, "  %s\n", finding)
		}
		fmt.Fprintf(w, "  see %s/%s\n", dir, c.Evidence)
	}
	_, err := fmt.Fprintf(w, "\n%s  %s\n", v.Status, dir+"/report.html")
	return err
}

// writeDeliveries writes a table of the phase deliver, if it ran.
func (v *Verdict) writeDeliveries(t *tabwriter.Writer) error {
	for _, p := range v.Phases {
		d := p.Delivery
		if d == nil {
			continue
		}
		if err := t.Flush(); err != nil { // the columns of the tables differ
			return err
		}
		fmt.Fprintln(t, "\nSUBSCRIPTION\tBY\tEVENTS\tTAKEN\tATTEMPTS\tFAILED ON PURPOSE\tP50 MS\t"+
			"P95 MS\tRECOVERED\tOTHER P95 MS")
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%.1f\t%.1f\t%.1f s\t%.1f → %.1f\n", d.Subscription,
			d.By, d.Events, d.Taken, d.Attempts, d.Failed, d.P50, d.P95, d.Recover, d.OthersCalm,
			d.OthersTrouble)
	}
	return nil
}
