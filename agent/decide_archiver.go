package agent

// appointArchiver says which pod archives the binlogs: an open source appoints it, and everybody learns it from the source's status. It is a
// replica, so that the source's disk is read by nobody else; of those that follow the one with the lowest ordinal; the one that was appointed before, as
// long as it is fit. Without any the source does it itself. Two that believe to be it at once do no harm: see package archive.
func appointArchiver(source, cluster string, siblings []PeerAnswer, before string) string {
	first := ""
	for _, p := range siblings {
		if p.Kind != PeerAnswered || p.Status.ClusterID != cluster || p.Status.Phase != PhaseRun {
			continue
		}
		switch {
		case p.Pod == before && (p.Status.State == StateReplicating || p.Status.State == StateCatchingUp):
			return before
		case first == "" && p.Status.State == StateReplicating:
			first = p.Pod
		}
	}
	if first != "" {
		return first
	}
	return source
}
