package certify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// environment is environment.json: what the target and the client are.
type environment struct {
	Target targetFacts    `json:"target"`
	Client map[string]any `json:"client"`
}

// targetFacts has the health of the target at the beginning and at the end, as it answered.
type targetFacts struct {
	URL      string          `json:"url"`
	Health   json.RawMessage `json:"health"`
	Finished json.RawMessage `json:"healthAtEnd,omitempty"`
}

// lastHealth adds the health of the target at the end to environment.json.
func (c *certification) lastHealth(ctx context.Context) error {
	var e environment
	if err := readJSON(c.file(environmentFile), &e); err != nil {
		return err
	}
	_, raw, err := c.target.health(ctx)
	if err != nil {
		c.say("health at the end: %v", err)
		return nil
	}
	e.Target.Finished = raw
	return writeJSON(c.file(environmentFile), e)
}

// targetCriterion checks that all files name one target of one version: the gate was not replaced
// meanwhile, and nobody changed the version in one place.
func (c *conclusion) targetCriterion(dir string) (Criterion, error) {
	criterion := Criterion{ID: "target", Relation: "=", Unit: "places",
		Text:     "places in the evidence that name another target or version than the verdict",
		Evidence: environmentFile}
	var e environment
	if err := readJSON(filepath.Join(dir, environmentFile), &e); errors.Is(err, os.ErrNotExist) {
		criterion.invalidate("there is no %s", environmentFile)
		return criterion, nil
	} else if err != nil {
		return criterion, err
	}
	compare := func(where, what, value, want string) {
		if value != want {
			criterion.Value++
			criterion.find("%s: the %s is %q, and %q in %s", where, what, value, want, startFile)
		}
	}
	compare(environmentFile, "target", e.Target.URL, c.start.Target)
	health := func(raw json.RawMessage) {
		var h struct{ Version string }
		if raw != nil && json.Unmarshal(raw, &h) == nil {
			compare(environmentFile, "version", h.Version, c.start.Version)
		}
	}
	health(e.Target.Health)
	criterion.contradicts = criterion.Value > 0 // the client wrote both from one answer
	health(e.Target.Finished)
	for _, phase := range c.start.Phases {
		for _, file := range []string{beforeFile, afterFile} {
			text, err := os.ReadFile(filepath.Join(dir, phase, file))
			if errors.Is(err, os.ErrNotExist) {
				continue
			} else if err != nil {
				return criterion, err
			}
			for _, version := range buildVersions(text) {
				compare(phase+"/"+file, "version", version, c.start.Version)
			}
		}
	}
	criterion.decide()
	switch {
	case criterion.Status != Pass:
		criterion.invalidate("the target was replaced meanwhile, or the evidence changed")
	case e.Target.Finished == nil:
		criterion.invalidate("the target did not report its health at the end")
	default:
		criterion.Note = fmt.Sprintf("version %s", c.start.Version)
	}
	return criterion, nil
}

// buildVersions returns the versions that processes report in their metrics. Metrics that cannot be
// parsed have none; other criteria report that.
func buildVersions(text []byte) (versions []string) {
	for _, one := range bytes.Split(text, []byte("\n# EOF\n")) {
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(bytes.NewReader(append(bytes.Clone(one), '\n')))
		if err != nil {
			continue
		}
		for _, m := range families["hookgate_build_info"].GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "version" {
					versions = append(versions, l.GetValue())
				}
			}
		}
	}
	return versions
}
