package memstore_test

import (
	"testing"

	"ordinal/backup/store"
	"ordinal/backup/store/memstore"
	"ordinal/backup/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Implementation{New: func(*testing.T) store.Store { return new(memstore.Store) }, Large: 1 << 20})
}

func TestRetried(t *testing.T) {
	storetest.Run(t, storetest.Implementation{
		New: func(*testing.T) store.Store { return store.Retry(new(memstore.Store), store.Patience{}) }, Large: 1 << 20,
	})
}
