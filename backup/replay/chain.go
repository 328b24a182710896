package replay

import (
	"fmt"
	"slices"

	"ordinal/mysqlx"
)

// A chain takes the segments of an archive in an order in which a server can execute them, and proves that nothing is missing between them. It looks at
// headers only.
type chain struct {
	left  []Segment      // not taken, in the archive's order
	has   mysqlx.GTIDSet // what a server has that started with the base and executed all that was taken
	taken mysqlx.GTIDSet // of that, what is from the archive
	// abandoned are transactions that do not belong to the history that the chain leads to.
	abandoned mysqlx.GTIDSet
}

// newChain begins with what a server has.
func newChain(segments []Segment, executed, abandoned mysqlx.GTIDSet) *chain {
	c := &chain{has: executed, abandoned: abandoned}
	for _, s := range segments {
		s.GTIDs = s.GTIDs.Subtract(abandoned)
		if !s.GTIDs.IsEmpty() && !overlap(s.Before, abandoned) {
			c.left = append(c.left, s)
		}
	}
	return c
}

func overlap(a, b mysqlx.GTIDSet) bool { return !a.Intersect(b).IsEmpty() }

// A gapError says that the next segment needs what nobody has.
type gapError struct{ missing mysqlx.GTIDSet }

func (e *gapError) Error() string { return "the archive lacks " + shorten(e.missing.String()) }

// An abandonedError says that a segment belongs to a history without these transactions: the chain has to begin again.
type abandonedError struct{ set mysqlx.GTIDSet }

func (e *abandonedError) Error() string { return "abandoned: " + shorten(e.set.String()) }

// next returns the next segment that has anything new. What it has of that is in fresh. ok is false at the end of the archive. Errors: *gapError,
// *abandonedError, or that the archive has two histories.
func (c *chain) next() (s Segment, fresh mysqlx.GTIDSet, ok bool, err error) {
	for i := 0; i < len(c.left); i++ {
		s := c.left[i]
		fresh := s.GTIDs.Subtract(c.has)
		if fresh.IsEmpty() {
			c.drop(i)
			i--
			continue
		}
		if !c.has.Contains(s.Before) {
			continue // another one is to come first
		}
		if err := c.fits(s); err != nil {
			return s, fresh, false, err
		}
		c.drop(i)
		c.has, c.taken = c.has.Union(fresh), c.taken.Union(fresh)
		return s, fresh, true, nil
	}
	if len(c.left) == 0 {
		return Segment{}, mysqlx.GTIDSet{}, false, nil
	}
	return Segment{}, mysqlx.GTIDSet{}, false, &gapError{c.gap()}
}

// drop takes a segment off the list: mostly the first one of many.
func (c *chain) drop(i int) {
	if i == 0 {
		c.left = c.left[1:]
		return
	}
	c.left = slices.Delete(c.left, i, i+1)
}

// gap returns the fewest transactions that would let it go on.
func (c *chain) gap() mysqlx.GTIDSet {
	least := c.left[0].Before.Subtract(c.has)
	for _, s := range c.left[1:] {
		if m := s.Before.Subtract(c.has); m.Count() < least.Count() {
			least = m
		}
	}
	return least
}

// fits looks whether a segment's history has all that was taken so far.
func (c *chain) fits(s Segment) error {
	if lost := s.Abandons.Intersect(c.has); !lost.IsEmpty() {
		return &abandonedError{lost}
	}
	strange := c.taken.Subtract(s.Before).Subtract(s.GTIDs)
	if strange.IsEmpty() {
		return nil
	}
	// It may be from a server that logged them later: then it is behind.
	for _, other := range c.left {
		strange = strange.Subtract(other.GTIDs)
	}
	if strange.IsEmpty() {
		return nil
	}
	return fmt.Errorf("the archive has two histories: segment %s is from a server that never had %s", s.Name, shorten(strange.String()))
}
