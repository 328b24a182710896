// Package mysqltest finds a real MySQL server for tests, for make demo and for make bench, and starts as many as a test wants.
//
// [Find] takes the program that MYSQLD names, or the mysqld in PATH, or else unpacks Debian's packages into a private cache folder:
// nothing is installed and root is not needed. Data directories are copies of a template that is initialised once per machine, so that
// a server is up in about two seconds. Each server has a loopback address of its own, which lets test packages run in parallel.
//
// A test that cannot have a server is skipped on a developer's machine and fails where CI=true.
package mysqltest
