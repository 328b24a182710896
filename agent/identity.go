package agent

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxOrdinal bounds ordinals, so that server_id = base + ordinal stays within 32 bits.
const MaxOrdinal = 999_999

// maxPodName is the longest name Kubernetes gives to a pod (a DNS subdomain, RFC 1123), in bytes.
const maxPodName = 253

// Role is what a pod is for. It follows from the ordinal alone.
type Role string

// The two roles.
const (
	RoleSource  Role = "source"  // the first ordinal: takes writes
	RoleReplica Role = "replica" // all others
)

// Identity is who a pod is: its place in the set, never its address.
type Identity struct {
	Pod     string // always Base + "-" + Ordinal: what siblings call this pod, and the name in its certificate
	Base    string // the set's name, "mysql" of "mysql-2"
	Ordinal int
	First   int // the source's ordinal: 0, or .spec.ordinals.start of the StatefulSet
}

// ParseIdentity derives the identity from a pod's name like "mysql-2". An ordinal ≥ 0 takes the place of the number at the
// end of the name, and then the name may lack one: it is the base. The error is a *PodNameError.
func ParseIdentity(pod string, ordinal, first int) (Identity, error) {
	base, own, err := splitPodName(pod)
	switch {
	case err != nil && ordinal < 0:
		return Identity{}, err
	case err != nil:
		base = pod
	}
	if ordinal >= 0 {
		own = ordinal
	}
	if why := badBase(base); why != "" {
		return Identity{}, &PodNameError{Pod: pod, Why: why}
	}
	if own > MaxOrdinal {
		return Identity{}, &PodNameError{Pod: pod, Why: fmt.Sprintf("its ordinal is above %d", MaxOrdinal)}
	}
	if own < first {
		return Identity{}, &PodNameError{
			Pod: pod, Why: fmt.Sprintf("its ordinal %d is below the first ordinal %d", own, first),
			Remedy: "set --first-ordinal (AGENT_FIRST_ORDINAL) to the StatefulSet's .spec.ordinals.start, the same in every pod",
		}
	}
	return Identity{Pod: podName(base, own), Base: base, Ordinal: own, First: first}, nil
}

// Role returns the pod's role.
func (id Identity) Role() Role { return id.RoleOf(id.Ordinal) }

// RoleOf returns the role of the pod with the given ordinal in the same set.
func (id Identity) RoleOf(ordinal int) Role {
	if ordinal == id.First {
		return RoleSource
	}
	return RoleReplica
}

// ServerID returns mysqld's server_id: base + ordinal. See refman/8.4 sysvar_server_id.
func (id Identity) ServerID(base uint32) uint32 { return base + uint32(id.Ordinal) }

// PodName returns the name of the pod with the given ordinal in the same set.
func (id Identity) PodName(ordinal int) string { return podName(id.Base, ordinal) }

func podName(base string, ordinal int) string { return base + "-" + strconv.Itoa(ordinal) }

// EndsInOrdinal reports whether name looks like a pod of a StatefulSet: something, a dash and a number.
func EndsInOrdinal(name string) bool {
	_, _, err := splitPodName(name)
	return err == nil
}

// splitPodName splits "mysql-2" into "mysql" and 2.
func splitPodName(pod string) (base string, ordinal int, err error) {
	i := strings.LastIndexByte(pod, '-')
	digits := pod[i+1:]
	switch {
	case pod == "":
		return "", 0, &PodNameError{Pod: pod, Why: "it is empty"}
	case i <= 0 || digits == "" || strings.Trim(digits, "0123456789") != "":
		return "", 0, &PodNameError{Pod: pod, Why: "it does not end in -N"}
	case len(digits) > 1 && digits[0] == '0':
		return "", 0, &PodNameError{Pod: pod, Why: "its number starts with 0, which no StatefulSet writes"}
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n > MaxOrdinal {
		return "", 0, &PodNameError{Pod: pod, Why: fmt.Sprintf("its ordinal is above %d", MaxOrdinal)}
	}
	return pod[:i], n, nil
}

// badBase says what is wrong with a set's name, or nothing. The base becomes part of host names and certificates.
func badBase(base string) string {
	if base == "" {
		return "it is empty"
	}
	if len(base) > maxPodName {
		return fmt.Sprintf("it is longer than %d bytes", maxPodName)
	}
	for _, c := range []byte(base) {
		if !isHostByte(c) {
			return fmt.Sprintf("it contains %q; allowed are letters, digits, '-', '_' and '.'", rune(c))
		}
	}
	return ""
}

func isHostByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}

// PodNameError says why a pod's name does not tell which pod of which set it is.
type PodNameError struct {
	Pod    string // as given; "" if none was found
	Why    string
	Remedy string // "": the usual one
}

func (e *PodNameError) Error() string {
	return fmt.Sprintf("pod name %.80q gives no ordinal: %s", e.Pod, e.Why)
}

// Hint tells the operator what to do.
func (e *PodNameError) Hint() string {
	if e.Remedy != "" {
		return e.Remedy
	}
	return "set POD_NAME from metadata.name (downward API), or give --pod-name mysql-0, or --ordinal"
}

// ExitCode returns ExitConfig.
func (e *PodNameError) ExitCode() int { return ExitConfig }
