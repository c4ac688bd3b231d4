// Command go pulls events from hookgate and gives each its effect exactly once. See ../README.md.
package main

import (
	"cmp"
	"context"
	"database/sql"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hookgate/hookgate/api"
	_ "modernc.org/sqlite"
)

const tables = `CREATE TABLE IF NOT EXISTS effects (event, key, payload NOT NULL);
CREATE TABLE IF NOT EXISTS inbox (subscription, webhook_id, redelivery,
  PRIMARY KEY (subscription, webhook_id, redelivery));`

func main() {
	stopping, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	db, err := sql.Open("sqlite", "file:"+cmp.Or(os.Getenv("DATABASE"), "consumer.db")+
		"?_txlock=immediate&_pragma=busy_timeout(60000)&_pragma=journal_mode(wal)")
	if err == nil {
		_, err = db.Exec(tables)
	}
	if err != nil {
		log.Fatal(err)
	}
	consumer := &api.Consumer{Subscription: os.Getenv("HOOKGATE_SUBSCRIPTION"),
		Client: &api.Client{URL: os.Getenv("HOOKGATE_URL"), Token: os.Getenv("HOOKGATE_TOKEN")}}
	consumer.Lease, _ = time.ParseDuration(os.Getenv("LEASE_SECONDS") + "s") // default: a minute
	consumer.Process = func(ctx context.Context, e *api.PulledEvent) error {
		tx, err := db.BeginTx(ctx, nil) // the effect and the row of the inbox: both are stored or none
		if err != nil {
			return err
		}
		defer tx.Rollback()
		row, err := tx.Exec("INSERT INTO inbox VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
			consumer.Subscription, e.WebhookID, e.Redelivery)
		if err != nil {
			return err
		}
		if n, err := row.RowsAffected(); err != nil || n == 0 {
			return err // n == 0: the event was processed before
		}
		// Your code. After an error the event comes again later.
		if _, err := tx.Exec("INSERT INTO effects VALUES (?, ?, json_extract(?, '$.payload'))",
			e.ID, e.Key, string(e.Body)); err != nil {
			return err
		}
		return tx.Commit()
	}
	if err := consumer.Run(stopping); err != nil { // a signal ends Run after the batch
		log.Fatal(err)
	}
}
