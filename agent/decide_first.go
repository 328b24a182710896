package agent

import "ordinal/internal/volume"

// decideUnfinished is about a volume whose data is not complete: normally the image's first initialisation is under way.
func decideUnfinished(v view) verdict {
	d := verdict{State: StateInitialising}
	switch {
	case v.Volume != volume.Prepared && v.Volume != volume.NeverCompleted:
		d.State = StateWaitingForMysqld
		return d.because(CodeMysqldNotAnswering, "the volume is %v: agent init has to run before mysqld and this agent", v.Volume)
	case v.Mysqld.Elsewhere:
		return d.because(CodeMysqldInitialising, "waiting for the end of a server that runs on data that was put aside")
	case v.Mysqld.Bare:
		return d.startOver(v, "root is let in without a password: the first initialisation was cut short")
	case v.Mysqld.CutShort:
		return d.startOver(v, "a server of the first initialisation did not shut down in order: steps are missing")
	case v.Mysqld.Abandoned && v.Volume == volume.NeverCompleted:
		return d.startOver(v, "nobody goes on with the first initialisation")
	case v.Mysqld.Reach == mysqldUp:
		d.Do = actFinishFirst
		return d.because(CodeMysqldInitialising, "the first initialisation has ended; creating the accounts")
	case v.Mysqld.Reach == mysqldNoRoot:
		return d.because(CodeRootPasswordMissing, "%s", v.Mysqld.Why)
	case v.Mysqld.Reach == mysqldDenied:
		return d.because(CodeAccessDenied, "%s", v.Mysqld.Why)
	case v.Mysqld.Reach == mysqldFailing:
		return d.because(CodeMysqldError, "%s", v.Mysqld.Why)
	}
	return d.because(CodeMysqldInitialising, "the image's first initialisation is under way")
}

// maxStartsOver bounds how often a first initialisation is put aside and begun again. Each one stays in quarantine, and one
// that fails for ever, because of a script of the user's, must not fill the volume.
const maxStartsOver = 10

func (d verdict) startOver(v view, why string) verdict {
	if v.StartsOver >= maxStartsOver {
		return d.because(CodeInterruptedFirstStart, "%s. It was put aside %d times already and stays as it is: see in mysqld's log what ends it, "+
			"then empty quarantine/ on the volume", why, v.StartsOver)
	}
	d.Do = actStartOver
	return d.because(CodeInterruptedFirstStart, "%s", why)
}
