// Package architecture keeps the rules true that a reader of this project may rely on: who imports whom, who reads
// the environment, how long a file is, which words are used. It consists of tests only.
//
// rules_test.go holds the rules as tables: change a rule there, in the same commit as the code that needs it.
// The checks look at the syntax of every Go file of the module, whatever its build tags, and at nothing outside it;
// what a compiler or a linter finds is left to them.
package architecture
