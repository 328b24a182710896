// Package doctor looks for the misconfigurations that people make most, and says of each what is wrong, with the values seen, why that
// matters, and what to do about it.
//
// Looking and judging are apart. What there is to see is looked at once, everything at the same time and each look with its own deadline:
// the machine, name servers, the other pods, the volume, the pod's mysqld, the stores. A [Check] is then a pure function of what was seen.
// What could not be seen is never guessed: the check says that it was not made, and why. So it is of use in a running pod as well as before
// the first start, when there is neither a mysqld nor another pod.
//
// Where the agent itself decides something, its own packages are asked: they must not disagree. Checks are in order of cause and
// effect, and what follows from a fault that was found already is not judged again.
//
// The package changes nothing: no file, no setting, no lock, no object of a store. It does not see what only the Kubernetes API knows, such as
// terminationGracePeriodSeconds or probes.
package doctor
