package certify

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"time"

	"github.com/hookgate/hookgate/evidence"
)

// finish reads everything a second time, checks what is checked once per certification, judges, and
// seals the evidence.
func (c *certification) finish(ctx context.Context) (v Verdict, err error) {
	ended := time.Now()
	for _, name := range c.start.Phases {
		if err := c.readAPI(ctx, name); err != nil {
			return v, err
		}
	}
	if err := c.audit(ctx, auditFile); err != nil {
		return v, err
	}
	c.settle(ctx, ended)
	for _, name := range c.start.Phases {
		if err := c.readAgain(ctx, name); err != nil {
			return v, err
		}
	}
	c.scrapeAgain(ctx)
	if err := c.access(ctx); err != nil {
		return v, err
	}
	for file, listing := range map[string]string{approvalsFile: "approvals", trailFile: "actions"} {
		text, err := c.target.latest(ctx, listing)
		if err := writeJSON(c.file(file), answerOf(text, err)); err != nil {
			return v, err
		}
	}
	if err := c.lastHealth(ctx); err != nil {
		return v, err
	}
	c.start.Finished = time.Now().UTC()
	if err := writeJSON(c.file(startFile), c.start); err != nil {
		return v, err
	}
	c.doing("", "judging")
	v, err = Conclude(c.Dir)
	if err != nil {
		return v, err
	}
	c.say("verdict: %s", v.Status)
	key := c.Key
	if key == nil {
		if _, key, err = ed25519.GenerateKey(nil); err != nil {
			return v, err
		}
		c.say("signed with a key that was made for this certification alone")
	}
	return v, evidence.Seal(c.Dir, key)
}

// access tries who may do what, and writes credentials.json and roles.json.
func (c *certification) access(ctx context.Context) error {
	c.doing("", "trying wrong credentials")
	refused := c.tryCredentials(ctx)
	c.doing("", "trying the roles")
	roles := c.roles(ctx)
	c.lookUpRefused(ctx, &refused)
	if err := writeJSON(c.file(credentialsFile), refused); err != nil {
		return err
	}
	c.senders(ctx, &roles)
	return writeJSON(c.file(rolesFile), roles)
}

// asked is the answer of the target to a question, or the reason why there is none.
type asked struct {
	Answer json.RawMessage `json:"answer,omitempty"`
	Error  string          `json:"error,omitempty"`
}

func answerOf(text []byte, err error) asked {
	switch {
	case err != nil:
		return asked{Error: err.Error()}
	case !json.Valid(text):
		return asked{Error: "the answer is not JSON: " + head(string(text))}
	}
	return asked{Answer: text}
}
