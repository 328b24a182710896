package agent

import (
	"context"
	"errors"
	"net"
	"time"

	"go.uber.org/zap"
)

// A sourceChooser chooses whom a source without data copies from. It asks all siblings before each step: who has most may change while
// one waits for another.
type sourceChooser struct {
	cloner *cloner
	since  time.Time // when it began to ask
	window time.Time // until when names may be missing in DNS
	said   string    // what the log has of the choice
}

// newSourceChooser returns a chooser for which nothing counts that siblings observed before since.
func newSourceChooser(c *cloner, since time.Time) *sourceChooser {
	return &sourceChooser{cloner: c, since: since, window: time.Now().Add(c.cfg.DiscoveryWindow)}
}

// choose asks the siblings and puts the decision into a cloner's terms.
func (s *sourceChooser) choose(ctx context.Context) (donorChoice, error) {
	found, err := s.ask(ctx)
	if err != nil {
		return donorChoice{}, err
	}
	choice, err := decideEmptySource(found)
	if err != nil {
		return donorChoice{}, err
	}
	switch choice.Step {
	case stepEmpty:
		return donorChoice{Step: donorNoData, Reasons: choice.Reasons}, nil
	case stepReverseClone:
		chosen := s.among(choice)
		chosen.Why = choice.Reasons
		return chosen, nil
	}
	return donorChoice{Step: donorWait, Reasons: choice.Reasons}, nil
}

// among chooses one of the siblings that have everything: the one that an unfinished copy is from, else the lowest ordinal that has
// not failed in this round.
func (s *sourceChooser) among(choice sourceChoice) donorChoice {
	c := s.cloner
	var passed []Reason
	best, corrupt := -1, 0
	for _, h := range choice.Donors {
		c.book.add(h.Ordinal, h.Pod)
		e := c.book.entry(h.Ordinal)
		switch e.fate {
		case donorCorrupt:
			corrupt++
		case donorNotAsked:
			if best < 0 || h.Pod == c.donor {
				best = h.Ordinal
			}
		default:
			passed = append(passed, e.reason)
		}
	}
	switch {
	case corrupt == len(choice.Donors):
		return donorChoice{Step: donorNone}
	case best < 0:
		return donorChoice{Step: donorWait, Reasons: passed}
	}
	if why := choice.Reasons[0].String(); s.said != why {
		s.said = why
		c.log.Warn("this source's volume is empty: cloning from a sibling", zap.String("donor", c.peers.PodName(best)), zap.Stringers("reasons", choice.Reasons))
	}
	return donorChoice{Step: donorAsk, Ordinal: best}
}

// ask asks all siblings at once.
func (s *sourceChooser) ask(ctx context.Context) (emptySource, error) {
	c := s.cloner
	found := emptySource{AllowEmpty: c.cfg.AllowEmptySource, Listed: c.cfg.Replicas > 0, WindowOver: time.Now().After(s.window), Since: s.since}
	ordinals, err := c.peers.Siblings(ctx, net.DefaultResolver)
	var dns *DiscoveryError
	switch {
	case errors.As(err, &dns) && dns.Reach != NotFound:
		found.DiscoveryErr = err
	case err != nil && dns == nil:
		return found, err // nothing that waiting would change
	}
	found.Siblings = askAll(ctx, c.asker, ordinals)
	c.asked = found.Siblings
	return found, nil
}
