package agent

import (
	"fmt"
	"strings"
	"time"

	"ordinal/mysqlx"
)

// A holding is what one pod of the set has of the cluster's history.
type holding struct {
	Pod      string
	Ordinal  int
	Executed mysqlx.GTIDSet
	Waiting  mysqlx.GTIDSet // received and not executed yet
}

// isOld reports whether a pod's words tell what was so before a moment, or before its mysqld went away: it may have received more since.
func (a PeerAnswer) isOld(since time.Time) bool {
	return a.Observed.Before(since) || a.Status.State == StateWaitingForMysqld
}

// all is everything that is safe with the pod.
func (h holding) all() mysqlx.GTIDSet { return h.Executed.Union(h.Waiting) }

// holdingOf reads what a pod says about itself. The error is one of words that make no sense.
func holdingOf(a PeerAnswer) (holding, error) {
	h := holding{Pod: a.Pod, Ordinal: a.Ordinal}
	var err error
	if h.Executed, err = mysqlx.ParseGTIDSet(a.Status.GTIDExecuted); err == nil {
		h.Waiting, err = mysqlx.ParseGTIDSet(a.Status.GTIDWaiting)
	}
	if err != nil {
		return holding{}, fmt.Errorf("%s names its transactions in a way that cannot be read: %w", a.Pod, err)
	}
	return h, nil
}

// mostAdvanced returns those that have everything that any of them has, in their order. It is empty where nobody has.
func mostAdvanced(all []holding) (best []holding) {
	var every mysqlx.GTIDSet
	for _, h := range all {
		every = every.Union(h.all())
	}
	for _, h := range all {
		if h.all().Contains(every) {
			best = append(best, h)
		}
	}
	return best
}

// surpluses tells for each pod what it has that one of the others lacks: "mysql-1 has u:5-7; mysql-2 has u:9".
func surpluses(all []holding) string {
	if len(all) == 0 {
		return ""
	}
	common := all[0].all()
	for _, h := range all[1:] {
		common = intersect(common, h.all())
	}
	var says []string
	for _, h := range all {
		if more := h.all().Subtract(common); !more.IsEmpty() {
			says = append(says, fmt.Sprintf("%s has %d transactions that not all have (%s)", h.Pod, more.Count(), orNotKnown(more.String())))
		}
	}
	return strings.Join(says, "; ")
}

func intersect(a, b mysqlx.GTIDSet) mysqlx.GTIDSet { return a.Subtract(a.Subtract(b)) }

// ofServer is the part of a set that was first executed on the server with this server_uuid.
func ofServer(set mysqlx.GTIDSet, uuid string) mysqlx.GTIDSet {
	if uuid == "" {
		return mysqlx.GTIDSet{}
	}
	var own []string
	for _, part := range strings.Split(set.String(), ",") {
		if strings.HasPrefix(part, strings.ToLower(uuid)+":") {
			own = append(own, part)
		}
	}
	found, err := mysqlx.ParseGTIDSet(strings.Join(own, ","))
	if err != nil {
		return mysqlx.GTIDSet{} // a set's own text is always read
	}
	return found
}
