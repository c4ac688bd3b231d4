package sqlstore

// Subscriptions keeps subscriptions in the tables that both stores have.
type Subscriptions struct {
	db DB
	Dialect
}

// NewSubscriptions returns the subscriptions of a database.
func NewSubscriptions(db DB, d Dialect) *Subscriptions {
	return &Subscriptions{db: db, Dialect: d}
}
