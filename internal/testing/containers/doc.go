// Package containers runs a StatefulSet's Pods as containers of a Docker Engine, by the manifests of examples/kubernetes: what kustomize makes of
// them is decoded into Kubernetes' own types, and each Pod is started, probed and ended by that and by nothing else. A field of a Pod that this
// package does not know is an error: no test passes because something was left out.
//
// A Pod is what it is on a node. A first container holds its network: name and address, new with every life of the Pod. The others live in that
// network: init containers one after the other to their ends, a native sidecar when its turn comes and until after all others, each with the
// user, capabilities, root file system, memory limit and mounts that the manifest says. A kubelet of some hundred lines restarts what ends,
// with pauses, asks the probes, and ends a Pod in Kubernetes' order within its grace period. A name server answers as a cluster's does for a
// headless Service, a Service leads to ready Pods only, and a volume outlives its Pod, or does not.
//
// Faults are real: containers are killed, addresses are others, packets are dropped in a Pod's own network, file systems are full.
//
// What is not here: a scheduler, an API server, the CPU's limits. docs/pods.md tells the order of a Pod's life.
//
// It is a module of its own: the product does not depend on Kubernetes' libraries.
package containers
