package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/hookgate/hookgate/httpd"
)

// credentials are the keys in use: those configured, or those in the data directory.
type credentials struct {
	bearerKeys, hmacSecrets, adminTokens, evidenceTokens []string
	// made are the files of the keys that were made just now.
	made []string
	// fromDataDir says that the default source's keys are those in the data directory.
	fromDataDir bool
}

// findCredentials resolves the configured keys, and makes random ones where none are configured: a bearer
// key and an HMAC secret if the default source has neither, an admin token if there is none.
func findCredentials(c config) (k credentials, err error) {
	source := c.Sources[httpd.DefaultSource]
	if k.bearerKeys, err = resolveSecrets(source.BearerKeys); err != nil {
		return k, fmt.Errorf("sources.default.bearer_keys: %w", err)
	}
	if k.hmacSecrets, err = resolveSecrets(source.Secrets); err != nil {
		return k, fmt.Errorf("sources.default.secrets: %w", err)
	}
	if k.adminTokens, err = resolveSecrets(c.AdminTokens); err != nil {
		return k, fmt.Errorf("admin_tokens: %w", err)
	}
	if k.evidenceTokens, err = resolveSecrets(c.EvidenceTokens); err != nil {
		return k, fmt.Errorf("evidence_tokens: %w", err)
	}
	for _, token := range k.evidenceTokens {
		if slices.Contains(k.adminTokens, token) {
			return k, errors.New("evidence_tokens: one of them is also in admin_tokens, so that the trail could not tell who hands evidence in")
		}
	}
	take := func(name string, to *[]string) {
		if err != nil {
			return
		}
		key, made, e := c.DataDir.key(name)
		if err = e; err != nil {
			return
		}
		if made {
			k.made = append(k.made, c.DataDir.keyFile(name))
		}
		*to = []string{key}
	}
	if len(k.bearerKeys)+len(k.hmacSecrets) == 0 && source.Kind == "envelope" { // those of others are the sender's
		k.fromDataDir = true
		take(hmacSecretName, &k.hmacSecrets)
		take(bearerKeyName, &k.bearerKeys)
	}
	if len(k.adminTokens) == 0 {
		take(adminTokenName, &k.adminTokens)
	}
	return k, err
}

// minSecretBytes is the length below which a configured key is refused as a mistake.
const minSecretBytes = 8

// inEnvironment is an environment variable inside a secret.
var inEnvironment = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// resolveSecrets replaces "env:NAME" and "${NAME}" by the value of that environment variable, which may hold several
// separated by commas, and "file:PATH" by the content of that file. Inside of anything else, which is the secret itself,
// "${NAME}" stands for that value too.
func resolveSecrets(settings []string) ([]string, error) {
	var secrets []string
	for i, setting := range settings {
		values := []string{setting}
		name, ok := strings.CutPrefix(setting, "env:")
		if m := inEnvironment.FindStringSubmatch(setting); m != nil && m[0] == setting {
			name, ok = m[1], true
		}
		if ok {
			if values = strings.Split(os.Getenv(name), ","); os.Getenv(name) == "" {
				return nil, fmt.Errorf("environment variable %s is empty or not set", name)
			}
		} else if path, ok := strings.CutPrefix(setting, "file:"); ok {
			key, err := readKey(path)
			if err != nil {
				return nil, err
			}
			values = []string{key}
		} else if missing := unset(setting); missing != "" {
			return nil, fmt.Errorf("environment variable %s is empty or not set", missing)
		} else {
			values[0] = inEnvironment.ReplaceAllStringFunc(setting, func(name string) string { return os.Getenv(name[2 : len(name)-1]) })
		}
		for _, secret := range values {
			if secret = strings.TrimSpace(secret); len(secret) < minSecretBytes {
				return nil, fmt.Errorf("key %d is shorter than %d bytes", i+1, minSecretBytes)
			}
			secrets = append(secrets, secret)
		}
	}
	return secrets, nil
}

// unset returns the first environment variable inside a setting that is not set.
func unset(setting string) string {
	for _, m := range inEnvironment.FindAllStringSubmatch(setting, -1) {
		if os.Getenv(m[1]) == "" {
			return m[1]
		}
	}
	return ""
}
