// Package validate checks the files for Prometheus and Grafana beside it: that they parse as their readers parse them, that every metric,
// label and value in them is one that the agent has, that each alert fires when it should and is silent over a healthy set, and that
// its link leads somewhere. It is a module of its own: the product does not depend on Prometheus' libraries.
//
//	go test -count=1 ./...                            # the files lie outside of this module: the test cache does not notice a change
//	go test -run TestPrometheusRule -update ./...     # writes prometheusrule.yaml after a change of rules.yaml
package validate
