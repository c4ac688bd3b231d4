package gatetest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/gate"
	"github.com/hookgate/hookgate/gatetest"
)

// In a test, t is the test's *testing.T.
func Example() {
	t := &exampleT{}
	defer t.end()

	g := gatetest.New(t, gate.Options{Sources: gate.Sources{"stripe": gate.Stripe("whsec_a-secret")}})
	g.Handle("billing", gate.Filter{Types: []string{"invoice.*"}},
		func(_ context.Context, e *hookgate.Event) error {
			var invoice struct {
				Data struct{ Object struct{ Amount int } }
			}
			if err := json.Unmarshal(e.Body, &invoice); err != nil {
				return gate.Dead(err)
			}
			fmt.Println(e.EventType, invoice.Data.Object.Amount)
			return nil
		})
	gatetest.Send(t, g, "stripe",
		`{"id":"evt_1","type":"invoice.paid","data":{"object":{"customer":"cus_1","amount":42}}}`)
	gatetest.Wait(t, g)
	// Output: invoice.paid 42
}

// exampleT is what an example has in place of a *testing.T.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func (t *exampleT) Helper() {}

func (t *exampleT) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (t *exampleT) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (t *exampleT) Errorf(format string, args ...any) { fmt.Printf(format, args...) }

func (t *exampleT) TempDir() string {
	dir, err := os.MkdirTemp("", "gatetest")
	if err != nil {
		panic(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// end ends the example as a test ends.
func (t *exampleT) end() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}
