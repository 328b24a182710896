package agent

import (
	"errors"
	"fmt"
	"slices"

	"ordinal/internal/volume"
	"ordinal/mysqlx"
)

// A simVolume is what a pod's volume holds: see internal/volume, whose refusals it has.
type simVolume struct {
	gens       []*simGeneration // by number
	next       int              // number of the next generation
	current    int              // what current points to; 0: there is none
	quarantine []*simQuarantined
	identity   volume.Identity
	held       string
	request    *volume.Request
}

type simGeneration struct {
	record volume.Record
	data   *simData // of a copy that is not complete: nil
	barred bool     // no mysqld starts on it any more
	donor  *simMysqld
	hello  string  // what the donor had when it began to give the copy
	done   float64 // of an unfinished copy: the part that is here

	exported mysqlx.GTIDSet // what was written into files that can be replayed
}

// A simQuarantined is data that was taken out of service.
type simQuarantined struct {
	name   string
	record volume.Record
	data   *simData
	only   mysqlx.GTIDSet // what no other pod has, as it was reported
}

func newSimVolume() *simVolume { return &simVolume{next: 1} }

func (v *simVolume) generation(n int) *simGeneration {
	for _, g := range v.gens {
		if g.record.Number == n {
			return g
		}
	}
	return nil
}

// live is the newest complete generation's data; nil: there is none.
func (v *simVolume) live() *simData {
	for _, g := range slices.Backward(v.gens) {
		if g.record.State == volume.StateComplete {
			return g.data
		}
	}
	return nil
}

// switchBegun is SwitchBegun.
func (v *simVolume) switchBegun() bool {
	g := v.generation(v.current)
	return g != nil && g.barred && v.content().Kind == volume.Switching
}

// content is what Inspect says.
func (v *simVolume) content() *volume.Content {
	c := &volume.Content{Current: v.current}
	newest, building := 0, 0
	for i, g := range v.gens {
		c.Records = append(c.Records, g.record)
		if g.record.State == volume.StateComplete {
			newest = i + 1
		} else {
			building = i + 1
		}
	}
	for _, q := range v.quarantine {
		c.Quarantined = append(c.Quarantined, q.name)
	}
	about := func(i int, kind volume.Kind) {
		c.Kind, c.Generation, c.Record = kind, c.Records[i-1].Number, &c.Records[i-1]
	}
	switch {
	case newest > 0 && v.gens[newest-1].record.Number == v.current:
		about(newest, volume.Complete)
	case newest > 0:
		about(newest, volume.Switching)
	case building == 0:
		c.Kind = volume.Empty
	case v.gens[building-1].record.Origin != volume.OriginInitialised:
		about(building, volume.UnderWay)
	case v.gens[building-1].data.boot == bootNone:
		about(building, volume.Prepared)
	default:
		about(building, volume.NeverCompleted)
	}
	return c
}

func (v *simVolume) begin(r volume.Record) *simGeneration {
	r.Number, r.State = v.next, volume.StateBuilding
	g := &simGeneration{record: r}
	v.next++
	v.gens = append(v.gens, g)
	return g
}

// newGeneration is NewGeneration.
func (v *simVolume) newGeneration(r volume.Record) (*simGeneration, error) {
	c := v.content()
	if _, ok := c.Building(); ok || c.Kind != volume.Empty && c.Kind != volume.Complete {
		return nil, fmt.Errorf("new generation: the volume is %v", c.Kind)
	}
	if r.Replaces != nil && r.Replaces.Generation != c.Generation {
		return nil, fmt.Errorf("new generation: it is to replace %d, not %d", r.Replaces.Generation, c.Generation)
	}
	return v.begin(r), nil
}

// prepareEmpty is PrepareEmpty.
func (v *simVolume) prepareEmpty() error {
	c := v.content()
	switch c.Kind {
	case volume.Prepared:
		v.current = c.Generation
	case volume.Empty:
		g := v.begin(volume.Record{Origin: volume.OriginInitialised})
		g.data, v.current = &simData{}, g.record.Number
	default:
		return fmt.Errorf("prepare an empty data directory: the volume is %v", c.Kind)
	}
	return nil
}

// inUse says whether the pod's server has generation n open.
func (p *simPod) inUse(n int) bool { return p.using != nil && p.using.record.Number == n }

// discard is Discard: of what was never complete only.
func (p *simPod) discard(n int) error {
	v := p.vol
	g := v.generation(n)
	switch {
	case g == nil:
		return nil
	case g.record.State == volume.StateComplete, g.record.Origin == volume.OriginInitialised && g.data.boot != bootNone, p.inUse(n):
		return fmt.Errorf("discard generation %d: it is not to be removed", n)
	}
	if v.current == n {
		v.current = 0
	}
	v.remove(g)
	return nil
}

func (v *simVolume) remove(g *simGeneration) {
	v.gens = slices.DeleteFunc(slices.Clone(v.gens), func(o *simGeneration) bool { return o == g })
}

// putAside is Quarantine.
func (p *simPod) putAside(n int, reason string, only mysqlx.GTIDSet) error {
	v := p.vol
	g := v.generation(n)
	if g == nil || p.inUse(n) {
		return fmt.Errorf("quarantine generation %d: it is in use or not there", n)
	}
	if v.current == n {
		v.current = 0
	}
	v.remove(g)
	v.quarantine = append(v.quarantine, &simQuarantined{
		name: fmt.Sprintf("%d-%s", len(v.quarantine), reason), record: g.record, data: g.data, only: only.Union(g.exported),
	})
	p.w.count("quarantined: " + reason)
	return nil
}

// startOver is StartOver.
func (p *simPod) startOver(n int, reason string) error {
	v := p.vol
	if c := v.content(); c.Kind != volume.NeverCompleted || c.Generation != n {
		return fmt.Errorf("start over: the volume is %v", c.Kind)
	}
	g := v.generation(n)
	v.remove(g)
	v.quarantine = append(v.quarantine, &simQuarantined{name: fmt.Sprintf("%d-%s", len(v.quarantine), reason), record: g.record, data: g.data})
	next := v.begin(volume.Record{Origin: volume.OriginInitialised})
	next.data, v.current = &simData{}, next.record.Number
	p.w.count("quarantined: " + reason)
	return nil
}

// complete is Complete: the copy is whole.
func (p *simPod) complete(g *simGeneration, data *simData) error {
	if p.vol.generation(g.record.Number) != g {
		return errors.New("complete: it is gone")
	}
	g.data, g.record.State, g.donor = data, volume.StateComplete, nil
	if old := p.using; old != nil && old != g {
		return nil
	}
	return p.finishSwitch()
}

// finishSwitch is FinishSwitch.
func (p *simPod) finishSwitch() error {
	v, c := p.vol, p.vol.content()
	if c.Kind != volume.Switching && c.Kind != volume.Complete {
		return fmt.Errorf("finish switch: the volume is %v", c.Kind)
	}
	if old := v.generation(v.current); old != nil && v.current != c.Generation {
		old.barred = true
	}
	if p.using != nil && p.using.record.Number != c.Generation {
		return volume.ErrInUse
	}
	if v.current != c.Generation {
		p.w.say(p.id.Pod, "switched to generation %d", c.Generation)
	}
	v.current = c.Generation
	return nil
}

// retire is Retire.
func (p *simPod) retire() error {
	c := p.vol.content()
	if c.Kind != volume.Complete {
		return fmt.Errorf("retire: the volume is %v", c.Kind)
	}
	for _, r := range c.Records {
		if r.State != volume.StateComplete || r.Number >= c.Generation {
			continue
		}
		reason, only := "superseded", mysqlx.GTIDSet{}
		if why := c.Record.Replaces; why != nil && why.Generation == r.Number {
			reason, only = why.Reason, gtidsOf(why.OnlyHere)
		}
		if err := p.putAside(r.Number, reason, only); err != nil {
			return err
		}
	}
	return nil
}

// snapshot is a copy of everything.
func (v *simVolume) snapshot() *simVolume {
	c := *v
	c.gens = nil
	for _, g := range v.gens {
		copied := *g
		if g.data != nil {
			copied.data = g.data.snapshot()
		}
		c.gens = append(c.gens, &copied)
	}
	c.quarantine = slices.Clone(v.quarantine) // nobody writes there
	return &c
}

// all visits all data on the volume with its place.
func (v *simVolume) all(visit func(where string, d *simData)) {
	for _, g := range v.gens {
		if g.data != nil {
			visit(fmt.Sprintf("generation %d", g.record.Number), g.data)
		}
	}
	for _, q := range v.quarantine {
		if q.data != nil {
			visit("quarantine "+q.name, q.data)
		}
	}
}
