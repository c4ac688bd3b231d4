package inbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	_ "modernc.org/sqlite"

	"github.com/hookgate/hookgate/inbox"
)

// bookkeeper is an HTTP handler that books each payment exactly once.
type bookkeeper struct {
	db    *sql.DB
	table *inbox.Table
}

// ServeHTTP gets the push requests of the gate. It should verify their signatures first.
func (b *bookkeeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	delivery, err := inbox.FromHeader(r.Header)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	amount, err := io.ReadAll(r.Body)
	if err == nil {
		err = b.book(r.Context(), delivery, string(amount))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError) // the gate tries again
	}
}

func (b *bookkeeper) book(ctx context.Context, d inbox.Delivery, amount string) error {
	tx, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing
	first, err := b.table.First(ctx, inbox.SQL(tx), d)
	if err != nil || !first {
		return err // nil if the delivery is done
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO payments VALUES (?)", amount); err != nil {
		return err
	}
	return tx.Commit()
}

// An HTTP handler for push requests. The gate sends one event three times: the answer to the first
// request was lost, and later a person asks for the event to be done again.
func Example() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", "file:payments?mode=memory&cache=shared&_txlock=immediate")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	table, err := inbox.General(inbox.SQLite, "inbox")
	if err == nil {
		err = table.Create(ctx, inbox.SQL(db))
	}
	if err == nil {
		_, err = db.ExecContext(ctx, "CREATE TABLE payments (amount TEXT)")
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	handler := &bookkeeper{db, table}
	for _, redelivery := range []string{"0", "0", "1"} {
		r := httptest.NewRequest("POST", "/", strings.NewReader("12.50"))
		r.Header.Set("webhook-id", "0193ad3b-7a5e-7b5a-9d8e-0a4a1d0c7f11")
		r.Header.Set("hookgate-subscription", "billing")
		r.Header.Set("hookgate-redelivery", redelivery)
		r.Header.Set("hookgate-key", "k:customer-1")
		r.Header.Set("hookgate-event-id", "1764288000000000")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		var payments int
		err := db.QueryRowContext(ctx, "SELECT count(*) FROM payments").Scan(&payments)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("redelivery %s: answer %d, %d payments\n", redelivery, w.Code, payments)
	}
	// Output:
	// redelivery 0: answer 200, 1 payments
	// redelivery 0: answer 200, 1 payments
	// redelivery 1: answer 200, 2 payments
}
