// Package mysqlx is the one place that knows how to talk SQL to a MySQL server and what that server does: connections, versions,
// GTID sets, replication status, accounts and error numbers.
//
// It is a thin layer: each method of [DB] is one question or one change, safe to repeat, with the server's names kept as the server
// spells them. Columns are read by name, errors are told apart by number, and what differs between versions is in statements.go. Each
// method works with exactly the privileges that [DB.CreateAccounts] gives to the agent's account, unless its comment says otherwise.
//
// It decides nothing, retries nothing and logs nothing. It does not speak the CLONE protocol: [DialRaw] hands an authenticated
// connection to a package that does.
package mysqlx
