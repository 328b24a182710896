// Package localset runs a StatefulSet's Pods as processes of one machine: no container, no Kubernetes, real mysqld and agent.
//
// The Pod with ordinal n owns the loopback address 127.0.1.n with the standard ports, a volume that survives it, and directories that do
// not. A controller does what Kubernetes' does: it creates Pods in order or all at once, restarts each program that ends, recreates a
// Pod that was deleted, and scales. A Pod is `agent init` until it exits 0, then mysqld, started as the official image's entry point
// starts it, beside `agent run`. It ends as with a native sidecar: mysqld first, then the agent.
//
// Options.Network gives each Pod a network of its own instead, which can be cut.
//
// Not emulated: DNS (peers are literal addresses, so the agents are told how many Pods there are), container images, users (everything
// runs as the caller), resource limits, probes other than readiness.
package localset
