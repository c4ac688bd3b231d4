package gate

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/refused"
)

// TestRefused sends requests that are refused, with secrets in headers and query. They can be read
// after a restart without any of the secrets, and bodies only of the source that keeps them.
func TestRefused(t *testing.T) {
	const secret = "s3cr3t-value-of-a-sender"
	o := embedded(t)
	o.Sources = Sources{
		"shop": {Kind: "envelope", BearerKeys: []string{"a-bearer-key-of-the-shop"}},
		"github": {Kind: "github", Secrets: []string{"another-secret-of-github"},
			KeepRefusedBodies: true},
	}
	g, stop := running(t, o)
	post := func(path, body string, headers ...string) int {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		g.Handler().ServeHTTP(w, r)
		return w.Code
	}
	body := `{"n":1}` + strings.Repeat(" ", 2*refused.MaxBody)
	for _, test := range []struct{ status, got int }{
		{401, post("/webhooks/shop?token="+secret, "{}", "Authorization", "Bearer "+secret, "Cookie",
			secret, "X-Api-Key", secret, "User-Agent", "shop/1")},
		{401, post("/webhooks/github", body, "X-Hub-Signature-256",
			"sha256="+strings.Repeat("0", 64), "X-Hub-Signature", secret,
			"X-GitHub-Event", "push", "X-GitHub-Delivery", "d-1")},
		{404, post("/webhooks/nobody", "{}", "X-Token", secret)},
	} {
		if test.got != test.status {
			t.Fatalf("answered %d, want %d", test.got, test.status)
		}
	}
	stop()
	g, stop = running(t, o)
	defer stop()
	all, err := g.backends.refused.Refused(context.Background(), refused.Query{Limit: 10})
	if err != nil || len(all) != 3 {
		t.Fatalf("%d refused requests are kept, error %v", len(all), err)
	}
	var page api.Refused
	askAdmin(t, g, "/api/refused?limit=2", &page)
	if len(page.Refused) != 2 || page.Next == "" || page.Refused[0].Status != 404 ||
		page.Refused[0].Source != "" || page.Refused[1].Source != "github" {
		t.Fatalf("the first page is %+v", page)
	}
	signed := page.Refused[1]
	if len(signed.Body) != refused.MaxBody || *signed.Size != int64(len(body)) {
		t.Errorf("of %d bytes %d are kept, and the size is %d", len(body), len(signed.Body), *signed.Size)
	}
	if text := headerText(signed); !strings.Contains(text, "X-Github-Delivery: d-1") ||
		!strings.Contains(text, "X-Hub-Signature-256: sha256= (64 bytes, not kept)") ||
		!strings.Contains(text, "X-Hub-Signature: (24 bytes, not kept)") {
		t.Errorf("the headers are: %s", text)
	}
	after := page.Next
	page = api.Refused{}
	askAdmin(t, g, "/api/refused?after="+after, &page)
	if len(page.Refused) != 1 || page.Next != "" {
		t.Fatalf("the second page is %+v", page)
	}
	one := page.Refused[0]
	text := headerText(one)
	if one.Body != nil || one.Source != "shop" || one.Path != "/webhooks/shop" ||
		!strings.Contains(text, "Authorization: Bearer (24 bytes, not kept)") ||
		!strings.Contains(text, "User-Agent: shop/1") {
		t.Errorf("the first request is %+v", one)
	}
	for i := range all {
		if strings.Contains(headerText(api.RefusedRequest{Headers: all[i].Headers, Path: all[i].Path,
			Reason: all[i].Reason}), secret) {
			t.Errorf("a secret is stored: %+v", all[i])
		}
	}
}

func headerText(r api.RefusedRequest) string {
	text := r.Path + " " + r.Reason
	for _, h := range r.Headers {
		text += "\n" + h.Name + ": " + h.Value
	}
	return text
}
