package certify

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
)

//go:embed report.html
var reportText string

var reportTemplate = template.Must(template.New(reportFile).Parse(reportText))

// reportView is the data of the template.
type reportView struct {
	Verdict
	Headline, Input               string
	Problems                      []Criterion // criteria that did not pass
	Plots                         []plotView
	Deliveries                    []*DeliverySummary
	Callers                       []string
	Roles                         []roleRow
	Approvals, Trail, Environment string
}

type plotView struct {
	Phase                                               string
	Histogram, Curves, OverTime, Depth, Batches, Server template.HTML
	Delivery                                            *deliveryPlots
}

type roleRow struct {
	Call     string
	Statuses []string
}

// report writes report.html: one file that loads nothing from elsewhere.
func (c *conclusion) report() ([]byte, error) {
	v := reportView{Verdict: c.Verdict, Headline: c.headline(), Input: c.start.Input}
	for _, criterion := range c.Criteria {
		if criterion.Status != Pass {
			v.Problems = append(v.Problems, criterion)
		}
	}
	for _, p := range c.phases {
		f := p.figures
		if s := p.summary.Delivery; s != nil {
			v.Deliveries = append(v.Deliveries, s)
		}
		v.Plots = append(v.Plots, plotView{
			Phase: p.summary.Phase, Histogram: f.latencyHistogram(), Curves: f.percentileCurves(),
			OverTime: f.latencyOverTime(),
			Depth:    f.depthOverTime(), Batches: f.batchSizes(), Server: f.serverLatency(),
			Delivery: f.delivery,
		})
	}
	v.Callers = append([]string{nobody, sender}, append(madeRoles, admin)...)
	v.Roles = c.roles.rows(v.Callers)
	v.Approvals = indented(c.approvals.Answer, "They could not be read: "+c.approvals.Error)
	v.Trail = indented(c.trail.Answer, "It could not be read: "+c.trail.Error)
	v.Environment = indented(c.environment, "unknown")
	var page bytes.Buffer
	if err := reportTemplate.Execute(&page, &v); err != nil {
		return nil, err
	}
	return page.Bytes(), nil
}

// headline is the verdict in one sentence.
func (c *conclusion) headline() string {
	failed, invalid := 0, 0
	for i := range c.Criteria {
		switch c.Criteria[i].Status {
		case Fail:
			failed++
		case Invalid:
			invalid++
		}
	}
	switch {
	case c.Status == Pass:
		return fmt.Sprintf("All %d criteria are met.", len(c.Criteria))
	case c.Status == Fail && invalid > 0:
		return fmt.Sprintf("%d of %d criteria are not met, and %d could not be measured.", failed,
			len(c.Criteria), invalid)
	case c.Status == Fail:
		return fmt.Sprintf("%d of %d criteria are not met.", failed, len(c.Criteria))
	}
	return fmt.Sprintf("%d of %d criteria could not be measured, so there is no verdict on the "+
		"target.", invalid, len(c.Criteria))
}

// rows arranges the calls that were tried by these callers.
func (r roleReport) rows(callers []string) (rows []roleRow) {
	at := map[string]int{}
	for _, t := range r.Tried {
		column, call := slices.Index(callers, t.Caller), t.Method+" "+t.Path
		if column < 0 {
			continue // the findings of the criterion have it
		}
		row, ok := at[call]
		if !ok {
			row = len(rows)
			at[call] = row
			rows = append(rows, roleRow{call, make([]string, len(callers))})
		}
		text := fmt.Sprint(t.Status)
		if t.Status != t.Want {
			text = fmt.Sprintf("%d, not %d", t.Status, t.Want)
		}
		rows[row].Statuses[column] = text
	}
	return rows
}

func indented(text json.RawMessage, otherwise string) string {
	var b bytes.Buffer
	if text == nil || json.Indent(&b, text, "", "  ") != nil {
		return otherwise
	}
	return b.String()
}
