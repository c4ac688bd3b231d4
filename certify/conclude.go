package certify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// conclusion is everything that follows from the files of a certification.
type conclusion struct {
	Verdict
	phases []*phaseResult
	start  start
	// answers of the target, unchanged
	environment json.RawMessage
	approvals   asked
	trail       asked
	roles       roleReport
}

// Judge computes the verdict from the files in a folder.
func Judge(dir string) (Verdict, error) {
	c, err := conclude(dir)
	if err != nil {
		return Verdict{}, err
	}
	return c.Verdict, nil
}

func conclude(dir string) (*conclusion, error) {
	c := &conclusion{}
	var p Profile
	if err := readJSON(filepath.Join(dir, profileFile), &p); err != nil {
		return nil, fmt.Errorf("judge: %w", err)
	}
	if err := readJSON(filepath.Join(dir, startFile), &c.start); err != nil {
		return nil, fmt.Errorf("judge: %w", err)
	}
	if c.start.Format != bundleFormat {
		return nil, fmt.Errorf("judge: the evidence has format %d, and this version judges format "+
			"%d: use the version of hookgate that made it (client in %s)", max(c.start.Format, 1),
			bundleFormat, environmentFile)
	}
	if err := p.Check(); err != nil { // anyone can have written it
		return nil, fmt.Errorf("judge: %s: %w", profileFile, err)
	}
	var ramp []*phaseResult
	for _, name := range c.start.Phases {
		limits, err := p.limitsOf(name)
		if err != nil {
			return nil, fmt.Errorf("judge: %w", err)
		}
		r, err := judgePhase(filepath.Join(dir, name), name, p, limits)
		if err != nil {
			return nil, fmt.Errorf("judge phase %s: %w", name, err)
		}
		plan, err := c.planCriterion(dir, name, p, limits)
		if err != nil {
			return nil, fmt.Errorf("judge phase %s: %w", name, err)
		}
		calls, err := readAPICriterion(dir, name)
		if err != nil {
			return nil, fmt.Errorf("judge phase %s: %w", name, err)
		}
		r.criteria = append(r.criteria, plan, calls)
		r.summary.Status = statusOf(r.criteria)
		if c.phases = append(c.phases, r); strings.HasPrefix(name, Ramp+"-") {
			ramp = append(ramp, r)
			continue
		}
		c.Criteria = append(c.Criteria, r.criteria...)
	}
	if len(ramp) > 0 {
		c.Criteria = append(c.Criteria, rampCriteria(ramp, p)...)
	}
	c.Criteria = append(c.Criteria, c.phasesCriterion())
	if err := c.common(dir, p); err != nil {
		return nil, fmt.Errorf("judge: %w", err)
	}
	acknowledged := 0
	for _, r := range c.phases {
		c.Phases = append(c.Phases, r.summary)
		acknowledged += r.acknowledged
	}
	c.LossSeen = lossSeen(acknowledged)
	c.Application, c.Target, c.RunID, c.Version = p.Application, c.start.Target, c.start.RunID,
		c.start.Version
	c.StartedAt, c.FinishedAt = c.start.Started.Format(time.RFC3339),
		c.start.Finished.Format(time.RFC3339)
	c.Status = statusOf(c.Criteria)
	if len(c.phases) == 0 {
		c.Status = Invalid
	}
	return c, nil
}

// phasesCriterion checks that all phases ran: a phase that did not run has not passed.
func (c *conclusion) phasesCriterion() Criterion {
	ran := 0
	for _, asked := range c.start.Asked {
		if slices.ContainsFunc(c.start.Phases, func(name string) bool {
			return name == asked ||
				asked == Ramp && strings.HasPrefix(name, Ramp+"-")
		}) {
			ran++
		}
	}
	criterion := Criterion{ID: "phases", Text: "phases run, of those asked for", Relation: "=",
		Limit: float64(len(c.start.Asked)), Value: float64(ran),
		Unit: "phases", Evidence: startFile}
	criterion.decide()
	if criterion.Status != Pass || ran == 0 {
		criterion.invalidate("the certification was cut off")
	}
	return criterion
}

// limitsOf returns the limits of a phase, or of a step of a ramp.
func (p Profile) limitsOf(name string) (Phase, error) {
	if rate, ok := strings.CutPrefix(name, Ramp+"-"); ok {
		if r, err := strconv.ParseFloat(rate, 64); err == nil && stepName(r) == name {
			return p.step(r), nil
		}
	}
	// It is also the name of a folder, which the author of the files must not choose.
	limits, ok := p.Phases[name]
	if !ok || !slices.Contains([]string{Smoke, Load, Full, Soak, Deliver}, name) {
		return limits, fmt.Errorf("%s names the phase %q, which the profile does not have", startFile,
			name)
	}
	return limits, nil
}

// correctness are the criteria that must hold at any rate.
var correctness = []string{"persisted", "stored_once", "foreign", "content", "unchanged", "order",
	"times", "lineage", "idempotency", "answers", "counters", "plan", "read_api"}

func isCorrectness(c Criterion) bool {
	return slices.Contains(correctness, c.ID[strings.IndexByte(c.ID, '/')+1:])
}

// capacity are the criteria that decide whether a step of a ramp passes. At that time it is not
// known yet whether a second reading is the same.
func capacity(criteria []Criterion) []Criterion {
	return slices.DeleteFunc(slices.Clone(criteria),
		func(c Criterion) bool { return strings.HasSuffix(c.ID, "/unchanged") })
}

// rampCriteria are the requirements of a ramp. Beyond the highest rate a target may be slow or
// reject requests, but it must not be wrong.
func rampCriteria(steps []*phaseResult, p Profile) (criteria []Criterion) {
	highest := Criterion{ID: Ramp + "/highest_rate", Text: "highest rate that passes, of those " +
		"tried",
		Relation: ">=",
		Limit:    p.Phases[Ramp].Steps[0], Unit: "requests/s", Evidence: steps[0].summary.Phase + "/" +
			histogramsFile}
	for _, s := range steps {
		limits, err := p.limitsOf(s.summary.Phase)
		status := statusOf(capacity(s.criteria))
		if err == nil && status == Pass {
			highest.Value = limits.Rate
			highest.Evidence = s.summary.Phase + "/" + histogramsFile
		} else if last := failing(capacity(s.criteria)); last != nil {
			highest.Note = fmt.Sprintf("%s is %s: %s %s, limit %s", last.ID, last.Status, last.Text,
				last.ValueText(), last.LimitText())
		}
		for _, c := range s.criteria {
			if isCorrectness(c) {
				criteria = append(criteria, c)
			}
		}
	}
	highest.decide()
	if last := steps[len(steps)-1]; highest.Status == Fail &&
		statusOf(capacity(last.criteria)) == Invalid {
		highest.Status = Invalid
	}
	return append([]Criterion{highest}, criteria...)
}

// failing returns the first criterion that did not pass.
func failing(criteria []Criterion) *Criterion {
	for i := range criteria {
		if criteria[i].Status != Pass {
			return &criteria[i]
		}
	}
	return nil
}

// common judges what is checked once per certification.
func (c *conclusion) common(dir string, p Profile) error {
	settled, err := c.settledCriterion(dir, p)
	if err != nil {
		return err
	}
	chain, err := c.auditCriterion(dir)
	if err != nil {
		return err
	}
	c.Criteria = append(c.Criteria, settled, chain)
	named, err := c.targetCriterion(dir)
	if err != nil {
		return err
	}
	c.Criteria = append(c.Criteria, named)
	var refused credentialReport
	if err := readJSON(filepath.Join(dir, credentialsFile), &refused); err != nil &&
		!errors.Is(err, os.ErrNotExist) {
		return err
	}
	c.Criteria = append(c.Criteria, refused.criterion(p))
	if err := readJSON(filepath.Join(dir, rolesFile), &c.roles); err != nil &&
		!errors.Is(err, os.ErrNotExist) {
		return err
	}
	c.Criteria = append(c.Criteria, c.roles.criterion())
	if err := readJSON(filepath.Join(dir, approvalsFile), &c.approvals); err != nil &&
		!errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := readJSON(filepath.Join(dir, trailFile), &c.trail); err != nil &&
		!errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := readJSON(filepath.Join(dir, environmentFile), &c.environment); err != nil &&
		!errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// derive computes every derived file of a bundle, by path.
func (c *conclusion) derive() (map[string][]byte, error) {
	derived := map[string][]byte{}
	add := func(path string, v any) error {
		text, err := encodeJSON(v)
		derived[path] = text
		return err
	}
	if err := add(verdictFile, &c.Verdict); err != nil {
		return nil, err
	}
	for _, p := range c.phases {
		for name, v := range p.derived {
			if err := add(p.summary.Phase+"/"+name, v); err != nil {
				return nil, err
			}
		}
	}
	report, err := c.report()
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	derived[reportFile] = report
	return derived, nil
}

// Conclude judges a folder, and writes the verdict, the report and all other derived files.
func Conclude(dir string) (Verdict, error) {
	c, err := conclude(dir)
	if err != nil {
		return Verdict{}, err
	}
	derived, err := c.derive()
	if err != nil {
		return Verdict{}, err
	}
	for name, text := range derived {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), text, 0o644); err != nil {
			return Verdict{}, err
		}
	}
	return c.Verdict, nil
}

// ErrNotDerived is wrapped by the error of Recheck if the derived files of a bundle do not follow
// from its evidence.
var ErrNotDerived = errors.New("does not follow from the evidence")

// Recheck judges a bundle again, and compares the verdict, the report and all other derived files
// with those of the bundle.
func Recheck(dir string) (Verdict, error) {
	c, err := conclude(dir)
	if err != nil {
		return Verdict{}, err
	}
	derived, err := c.derive()
	if err != nil {
		return c.Verdict, err
	}
	names := make([]string, 0, len(derived))
	for name := range derived {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return c.Verdict, err
		}
		if !bytes.Equal(text, derived[name]) {
			return c.Verdict, fmt.Errorf("%s %w", name, ErrNotDerived)
		}
	}
	return c.Verdict, nil
}
