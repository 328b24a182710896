package archive

import (
	"strconv"
	"strings"

	"ordinal/mysqlx"
)

// A collector gathers GTIDs that mostly follow each other. The zero collector is empty.
type collector struct {
	order []string
	runs  map[string][]run // by source
}

type run struct{ first, last uint64 }

func (c *collector) add(source string, number uint64) {
	runs, known := c.runs[source]
	if n := len(runs); n > 0 && runs[n-1].last+1 == number {
		runs[n-1].last = number
		return
	}
	if !known {
		if c.runs == nil {
			c.runs = map[string][]run{}
		}
		c.order = append(c.order, source)
	}
	c.runs[source] = append(runs, run{number, number})
}

// set returns what was gathered.
func (c *collector) set() (all mysqlx.GTIDSet, err error) {
	const chunk = 512 << 10 // the text of a set is limited
	var text strings.Builder
	flush := func() error {
		part, err := mysqlx.ParseGTIDSet(text.String())
		all = all.Union(part)
		text.Reset()
		return err
	}
	for _, source := range c.order {
		for _, r := range c.runs[source] {
			text.WriteString(source + ":" + strconv.FormatUint(r.first, 10) + "-" + strconv.FormatUint(r.last, 10) + ",")
			if text.Len() > chunk {
				if err := flush(); err != nil {
					return all, err
				}
			}
		}
	}
	return all, flush()
}
