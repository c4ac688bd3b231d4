package certify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/hookgate/hookgate/control"
)

// tokenLife is how long a token lives that could not be revoked.
const tokenLife = 15 * time.Minute

// noName is the part of a path of Rule.Probe that stands for a name that nothing has.
const noName = "/none"

// absent is a name that nothing has, because it begins with the random id of this run.
func (c *certification) absent() string { return c.start.RunID + "-absent" }

// makeToken makes a token and returns its text. One of the role consumer is bound to the
// subscription.
func (t *target) makeToken(ctx context.Context, name, role, subscription string) (string, error) {
	wanted := map[string]any{"name": name, "role": role,
		"expiresAt": time.Now().Add(tokenLife).UTC().Format(time.RFC3339)}
	if role == string(control.RoleConsumer) {
		wanted["subscriptions"] = []string{subscription}
	}
	body, err := json.Marshal(wanted)
	if err != nil {
		return "", err
	}
	resp, err := t.call(ctx, http.MethodPost, t.base+"/admin/tokens", string(body), bearer(t.token))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil && resp.StatusCode != http.StatusCreated {
		err = &statusError{resp.StatusCode, string(text)}
	}
	var answer struct{ Token string }
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err == nil && answer.Token == "" {
		err = fmt.Errorf("the answer has no token")
	}
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	return answer.Token, nil
}

func (t *target) revokeToken(ctx context.Context, name string) error {
	a := t.try(ctx, http.MethodDelete, t.base+"/admin/tokens/"+name, "/admin/tokens/{name}", "",
		http.StatusOK, bearer(t.token))
	if a.Status != http.StatusOK {
		return fmt.Errorf("the target answers %d %s", a.Status, a.Error)
	}
	return nil
}
