package gate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/datadir"
	"github.com/hookgate/hookgate/internal/secret"
)

// credentials are the keys of the default source and the tokens of the API.
type credentials struct {
	bearerKeys, hmacSecrets, adminTokens, evidenceTokens []string
	// made are the files of the keys that this start made.
	made []string
	// fromDataDir reports that the keys of the default source are those in the data directory.
	fromDataDir bool
}

// findCredentials resolves the configured keys and tokens. It makes random ones in the data
// directory where none are configured: a bearer key and an HMAC secret if the default source has
// neither, and an admin token.
func findCredentials(o Options) (k credentials, err error) {
	source := o.Sources[ingest.DefaultSource]
	if k.bearerKeys, err = resolveSecrets(source.BearerKeys); err != nil {
		return k, fmt.Errorf("sources.default.bearer_keys: %w", err)
	}
	if k.hmacSecrets, err = resolveSecrets(source.Secrets); err != nil {
		return k, fmt.Errorf("sources.default.secrets: %w", err)
	}
	if k.adminTokens, err = resolveTokens(o.AdminTokens); err != nil {
		return k, fmt.Errorf("admin_tokens: %w", err)
	}
	if k.evidenceTokens, err = resolveTokens(o.EvidenceTokens); err != nil {
		return k, fmt.Errorf("evidence_tokens: %w", err)
	}
	for _, token := range k.evidenceTokens {
		if slices.Contains(k.adminTokens, token) {
			return k, errors.New("evidence_tokens: one of them is also in admin_tokens; use different" +
				" ones, so that the admin trail shows who submitted evidence")
		}
	}
	keyOf := func(name string, to *[]string) {
		if err != nil {
			return
		}
		key, made, e := o.dir().Key(name)
		if err = e; err != nil {
			return
		}
		if made {
			k.made = append(k.made, o.dir().KeyFile(name))
		}
		*to = []string{key}
	}
	// Only the envelope has keys that the gate can choose; other kinds have the sender's.
	if len(k.bearerKeys)+len(k.hmacSecrets) == 0 && source.Kind == "envelope" {
		k.fromDataDir = true
		keyOf(datadir.HMACSecret, &k.hmacSecrets)
		keyOf(datadir.BearerKey, &k.bearerKeys)
	}
	if len(k.adminTokens) == 0 {
		keyOf(datadir.AdminToken, &k.adminTokens)
	}
	return k, err
}

// minSecretBytes is the least length of a secret. A shorter one is a mistake.
const minSecretBytes = 8

// minTokenChars is the least length of an admin or evidence token. A shorter one could be guessed.
const minTokenChars = 16

// resolveSecrets returns the secrets that the settings hold or refer to.
func resolveSecrets(settings []string) ([]string, error) {
	return resolveLong(settings, func(text string) string {
		if len(text) < minSecretBytes {
			return fmt.Sprintf("is shorter than %d bytes", minSecretBytes)
		}
		return ""
	})
}

// resolveTokens is resolveSecrets for admin and evidence tokens.
func resolveTokens(settings []string) ([]string, error) {
	return resolveLong(settings, func(text string) string {
		if utf8.RuneCountInString(text) < minTokenChars {
			return fmt.Sprintf("has fewer than %d characters; make one with: openssl rand -hex 32",
				minTokenChars)
		}
		return ""
	})
}

// resolveLong resolves the settings. tooShort returns what is wrong with a secret that is too
// short, and "" for any other.
func resolveLong(settings []string, tooShort func(string) string) ([]string, error) {
	var secrets []string
	for i, setting := range settings {
		text, err := secret.Resolve(setting)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		if reason := tooShort(text); reason != "" {
			return nil, fmt.Errorf("key %d %s", i+1, reason)
		}
		secrets = append(secrets, text)
	}
	return secrets, nil
}

// SourcesByKeys returns the sources that authenticate and those that do not. The error is that of
// the first key or token that cannot be used. It makes no keys.
func (o Options) SourcesByKeys() (keyed, open []string, err error) {
	checkWith := func(resolve func([]string) ([]string, error), setting string, keys []string) {
		if _, e := resolve(keys); e != nil && err == nil {
			err = fmt.Errorf("%s: %w", setting, e)
		}
	}
	check := func(setting string, keys []string) { checkWith(resolveSecrets, setting, keys) }
	checkWith(resolveTokens, "admin_tokens", o.AdminTokens)
	checkWith(resolveTokens, "evidence_tokens", o.EvidenceTokens)
	for _, name := range slices.Sorted(maps.Keys(o.Sources)) {
		s := o.Sources[name]
		check("sources."+name+".bearer_keys", s.BearerKeys)
		check("sources."+name+".secrets", s.Secrets)
		check("sources."+name+".verify_tokens", s.VerifyTokens)
		if kind, _ := admit.Find(s.Kind); kind.Open {
			open = append(open, name)
		} else {
			keyed = append(keyed, name)
		}
	}
	return keyed, open, err
}
