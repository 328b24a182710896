package agent

// liveCopy names a pod that has the transaction in data that could be served, running or not; "": none has.
func (w *world) liveCopy(t *simTx) string {
	for _, p := range w.pods {
		if d := p.vol.live(); d != nil && d.has(t) {
			return p.id.Pod
		}
	}
	return ""
}

// anyCopy says where the transaction is, in service or kept; "": nowhere.
func (w *world) anyCopy(t *simTx) (where string) {
	for _, p := range w.pods {
		p.vol.all(func(place string, d *simData) {
			if where == "" && d.has(t) {
				where = p.id.Pod + ", " + place
			}
		})
	}
	return where
}

// causeRelayRecovery is what a server's own start does to what it has received.
const causeRelayRecovery = "relay_log_recovery"

// lose notes that the last copy of an acknowledged transaction is gone by the agents' own doing.
func (w *world) lose(t *simTx, why string) {
	switch {
	case t.lost != "":
	case why == causeRelayRecovery && !w.set.semisync: // the price of the setting
		t.lost = why
		w.count("acknowledged, lost by relay_log_recovery")
	default:
		t.lost = why
		w.fail("acknowledged transaction %v: its last copy is lost by %s", t, why)
	}
}

// disaster takes data away, and notes whose last copy it was.
func (w *world) disaster(what string, v *simVolume, take func()) {
	var there []*simTx
	for _, t := range w.txs {
		found := false
		if t.acked && t.lost == "" {
			v.all(func(_ string, d *simData) { found = found || d.has(t) })
		}
		if found {
			there = append(there, t)
		}
	}
	take()
	w.lastDisaster = w.now
	for _, t := range there {
		if w.anyCopy(t) == "" {
			t.lost = what
			w.say("disaster", "%s takes the last copy of %v", what, t)
		}
	}
}
