// Package load writes to a server while something else is tested, in a way that shows afterwards whether anything was lost or torn.
//
// Bank transfers keep the sum of all balances constant, and each adds one to a counter and one row to a journal in the same
// transaction: in any snapshot of any server, sum, counters and journal agree, and no transfer that was acknowledged is missing. Beside
// them run definitions of every kind that a copy of the files must survive: rebuilt, renamed, truncated and dropped tables, partitions,
// compressed pages, tablespaces, odd names.
package load
