// Package agent is what one pod of a replicated MySQL does: it knows which pod it is and where its siblings are, decides
// what to do with the pod's volume before mysqld starts ([Init]) and then keeps mysqld in its role for ever ([Run]).
//
// Two ideas carry the package. An identity is a name, never an address: the role follows from the ordinal in the pod's
// name, and a sibling's host is made from a template each time it is needed, because names outlive IPs. And whoever asks
// how things are gets an answer at once: what was last observed lies on a [Board], and the status plane reads only that.
//
// The package does not parse flags, read the environment or exit: that is cmd/agent.
package agent
