package agent

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ordinal/mysqlx"
)

// backupView is what the choice of a backup's donor depends on.
type backupView struct {
	Pods       []PeerAnswer  // all of the set, by --replicas or DNS
	From       string        // the pod that somebody asked for; "": the best one
	FromSource bool          // the source may give it although there are replicas
	MaxLag     time.Duration // of a donor behind the source
}

// A backupDonor is a pod that a backup may be made from.
type backupDonor struct {
	Answer PeerAnswer
	Role   Role
	has    mysqlx.GTIDSet
}

// NoDonorError says that no pod is fit to make a backup from now. Nothing was changed, and asking again later may succeed.
type NoDonorError struct {
	Reasons []Reason // what each pod lacks
	Remedy  string
}

func (e *NoDonorError) Error() string {
	var why []string
	for _, r := range e.Reasons {
		why = append(why, r.Message)
	}
	if len(why) == 0 {
		why = []string{"the set has no pods"}
	}
	return "no pod is fit to make a backup from: " + strings.Join(why, "; ")
}

// Hint tells the operator what to do.
func (e *NoDonorError) Hint() string { return e.Remedy }

// ExitCode returns ExitTemporary.
func (e *NoDonorError) ExitCode() int { return ExitTemporary }

// decideBackup orders the pods that a backup may be made from, the best first: a replica that follows its source and is not behind, of these
// the one that has most, of equals the one with the highest ordinal, which gives no other pod its data. The source gives one if it is alone
// or somebody says so: its disk and its processors are the writers'. A replica that has anything that its source lacks gives none: a set that is
// restored from it would have what never happened.
func decideBackup(v backupView) ([]backupDonor, error) {
	cluster, err := oneCluster(v.Pods)
	if err != nil {
		return nil, err
	}
	var (
		replicas []backupDonor
		source   *backupDonor
		unfit    []Reason
		others   int // pods beside the source that exist
	)
	for _, p := range v.Pods {
		isSource := p.Kind == PeerAnswered && p.Status.Role == RoleSource
		if p.Kind != PeerAbsent && !isSource {
			others++
		}
		if v.From != "" && p.Pod != v.From {
			continue
		}
		donor, why := backupFitness(p, cluster, v.MaxLag)
		switch {
		case why != "":
			unfit = append(unfit, Reason{Code: CodeDonorNotReady, Message: why})
		case isSource:
			source = &donor
		default:
			replicas = append(replicas, donor)
		}
	}
	slices.SortStableFunc(replicas, fresher)
	switch {
	case source != nil && (v.From != "" || v.FromSource && len(replicas) == 0 || others == 0):
		return append(replicas, *source), nil
	case len(replicas) > 0:
		if source != nil && v.FromSource {
			replicas = append(replicas, *source)
		}
		return replicas, nil
	case v.From != "":
		return nil, &NoDonorError{Reasons: notThere(unfit, v.From), Remedy: "wait until it is fit, or leave --from out"}
	case source != nil:
		return nil, &NoDonorError{
			Reasons: append(unfit, NewReason(CodeDonorNotReady, "%s is the source", source.Answer.Pod)),
			Remedy:  "wait until a replica is fit, or let the source give it with --from-source",
		}
	}
	return nil, &NoDonorError{Reasons: unfit, Remedy: "wait until a pod is fit: agent status shows how they are"}
}

// notThere adds that nobody has that name, if nobody has.
func notThere(unfit []Reason, pod string) []Reason {
	if len(unfit) > 0 {
		return unfit
	}
	return []Reason{NewReason(CodeDonorNotReady, "%s is no pod of this set, as far as --replicas or DNS tell", pod)}
}

// backupFitness says why a pod may not give a backup.
func backupFitness(p PeerAnswer, cluster string, maxLag time.Duration) (d backupDonor, why string) {
	if p.Kind != PeerAnswered {
		return d, p.Why
	}
	s := p.Status
	lag, known := s.Lag()
	has, err := mysqlx.ParseGTIDSet(s.GTIDExecuted)
	switch {
	case s.Phase != PhaseRun || s.HasData != DataYes || s.GTIDExecuted == "" || s.ClusterID != cluster:
		return d, fmt.Sprintf("%s cannot tell what it has (%s)", p.Pod, s.State)
	case err != nil:
		return d, fmt.Sprintf("%s names its transactions in a way that cannot be read", p.Pod)
	case s.State == StateSource && s.Role == RoleSource:
	case s.State != StateReplicating && s.State != StateCatchingUp:
		return d, fmt.Sprintf("%s is %s%s", p.Pod, s.State, firstReason(s))
	case !known:
		return d, fmt.Sprintf("nobody can tell how far %s is behind its source", p.Pod)
	case lag > maxLag:
		return d, fmt.Sprintf("%s is %v behind its source, more than --max-lag=%v", p.Pod, lag.Round(time.Second), maxLag)
	}
	return backupDonor{Answer: p, Role: s.Role, has: has}, ""
}

func firstReason(s Status) string {
	if len(s.Reasons) == 0 {
		return ""
	}
	return " (" + s.Reasons[0].String() + ")"
}

// oneCluster returns the cluster that all pods which know theirs belong to; "" if none does.
func oneCluster(pods []PeerAnswer) (cluster string, err error) {
	first := ""
	for _, p := range pods {
		if p.Kind != PeerAnswered || p.Status.ClusterID == "" {
			continue
		}
		if cluster == "" {
			cluster, first = p.Status.ClusterID, p.Pod
		}
		if p.Status.ClusterID != cluster {
			return "", &RefusedError{
				Reason: NewReason(CodeSiblingsDiverged, "%s belongs to cluster %s, %s to %s", first, cluster, p.Pod, p.Status.ClusterID),
				Remedy: "decide whose data is the right one first; or back one pod up with --from",
			}
		}
	}
	return cluster, nil
}

// fresher orders donors of one cluster: who has more comes first, of equals the higher ordinal.
func fresher(a, b backupDonor) int {
	return cmp.Or(cmp.Compare(b.has.Count(), a.has.Count()), cmp.Compare(b.Answer.Ordinal, a.Answer.Ordinal))
}
