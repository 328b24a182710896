// Command soak runs a real set under load for minutes while things go wrong at random: programs are killed and frozen, Pods deleted,
// volumes wiped, networks cut, clocks moved, and people write where they should not. At the end everything must be equal, whole and
// there. See docs/soak.md.
//
//	go run ./internal/testing/soak [-minutes 10] [-pods 5] [-seed N] [-durability semisync] [-json]
//
// Its parts: kinds.go and plan.go say what goes wrong and in which order; lanes.go runs the plan, the do_*.go files do the faults;
// world.go, network.go and clock.go are what the Pods live in; load.go, ledger.go and watch.go write and look; whole.go says when the set
// has got over a fault; verdict.go judges, report.go tells.
//
// It exits 0 when nothing was wrong, else 1, with all logs kept.
package main
