package bootcheck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ordinal/internal/mysqld"
	"ordinal/mysqlx"
)

// Progress is told how far a check is. Its methods may be called concurrently.
type Progress interface {
	// Start begins to count, total being in bytes, about.
	Start(total int64)
	// SetStage says what is being done.
	SetStage(text string)
	// Add counts bytes.
	Add(n int64)
}

// Options say what is checked, and by what.
type Options struct {
	Mysqld  string   // path of the program; "": see mysqld.Find
	DataDir string   // a restored copy that nobody else uses. The check changes it: throw it away afterwards
	RunDir  string   // see mysqld.Options
	Args    []string // further options for mysqld, such as those that shape the data

	ServerVersion string // of the donor
	PageSize      int    // innodb_page_size of the donor, in bytes; 0: the default
	BufferPool    int64  // bytes; 0: mysqld.DefaultBufferPool
	Workers       int    // how many tables are read at a time; 0: DefaultWorkers

	// What the backup says of itself; "" where it says nothing.
	GTIDExecuted string // exactly
	GTIDAtLeast  string
	GTIDAtMost   string

	Recorded *Recorded // nil: the backup has no checksums
	Progress Progress  // nil: nobody wants to know
}

// DefaultWorkers is how many tables are read at a time. The server uses more threads than one for the rows of a large table.
const DefaultWorkers = 2

// Run starts a mysqld on a restored copy, reads everything that is in it, and stops it. An error means that nothing was found out, because of the machine or of
// the options: no mysqld, one of another version, no memory, no space, no permission, or ctx has ended. That the backup is bad is no error here: see
// [Result.Err].
func Run(ctx context.Context, o Options) (Result, error) {
	program, err := mysqld.Find(ctx, o.Mysqld)
	if err != nil {
		return Result{}, err
	}
	if err := mysqlx.CheckCloneVersions(o.ServerVersion, program.Version); err != nil {
		return Result{}, &VersionError{Backup: o.ServerVersion, Server: program.Version, Err: err}
	}
	c := &check{options: o, reading: map[mysqlx.TableName]bool{}, recorded: map[mysqlx.TableName]RecordedTable{}}
	if c.gtids, err = parseExpected(o); err != nil {
		return Result{}, err
	}
	if o.Recorded != nil {
		for _, t := range o.Recorded.Tables {
			c.recorded[t.TableName] = t
		}
	}
	if c.progress = o.Progress; c.progress == nil {
		c.progress = silent{}
	}
	c.result = Result{Began: time.Now().UTC(), ServerVersion: program.Version}
	c.progress.SetStage("start mysqld")
	err = mysqld.Run(ctx, mysqld.Options{
		Program: program.Path, DataDir: o.DataDir, RunDir: o.RunDir, Args: o.Args,
		NoAccounts: true, ReadOnly: true, PageSize: o.PageSize, BufferPool: o.BufferPool,
	}, c.check)
	if err := c.judge(ctx, err); err != nil {
		return Result{}, err
	}
	c.result.close(time.Now())
	return c.result, nil
}

// check is one check under way.
type check struct {
	options  Options
	gtids    expected
	recorded map[mysqlx.TableName]RecordedTable
	progress Progress

	mu      sync.Mutex
	result  Result
	reading map[mysqlx.TableName]bool // tables that the server reads for us
}

// judge tells what is wrong with the backup from what is wrong with the machine, which it returns.
func (c *check) judge(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("check the restored copy: %w", context.Cause(ctx))
	}
	ended, ok := errors.AsType[*mysqld.EndedError](err)
	if !ok || ended.Trouble != mysqld.TroubleData {
		return err
	}
	detail := ended.Status + ": " + strings.Join(ended.Log[max(0, len(ended.Log)-4):], " | ")
	switch ended.Phase {
	case mysqld.Starting:
		c.result.fail(FailedStart, mysqlx.TableName{}, detail)
	case mysqld.Stopping:
		c.result.fail(FailedStop, mysqlx.TableName{}, detail)
	default:
		var names []string
		for name := range c.reading {
			names = append(names, name.String())
		}
		slices.Sort(names)
		c.result.fail(FailedCrash, mysqlx.TableName{}, fmt.Sprintf("while it read %s: %s", cmp.Or(strings.Join(names, ", "), "no table"), detail))
	}
	return nil
}

// check reads everything.
func (c *check) check(ctx context.Context, s *mysqld.Server) error {
	c.result.StartSeconds = time.Since(c.result.Began).Seconds()
	db := s.DB()
	facts, err := db.Facts(ctx)
	if err != nil {
		return err
	}
	c.result.GTIDExecuted = facts.GTIDExecuted.String()
	c.gtids.compare(facts.GTIDExecuted, &c.result)
	tables, err := c.list(ctx, db)
	if err != nil {
		return err
	}
	c.progress.SetStage("check tables")
	g, reading := errgroup.WithContext(ctx)
	g.SetLimit(cmp.Or(c.options.Workers, DefaultWorkers))
	for _, t := range tables {
		if reading.Err() != nil {
			break
		}
		g.Go(func() error { return c.table(reading, db, t) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return c.fullText(ctx, db)
}

// list returns the tables that are to be read, the largest first, so that no large one is left to be read alone at the end.
func (c *check) list(ctx context.Context, db *mysqlx.DB) ([]mysqlx.BaseTable, error) {
	all, err := db.BaseTables(ctx)
	if err != nil {
		return nil, err
	}
	found := make(map[mysqlx.TableName]bool, len(all))
	var tables []mysqlx.BaseTable
	var total uint64
	for _, t := range all {
		found[t.TableName] = true
		if t.Engine != "" && !strings.EqualFold(t.Engine, "InnoDB") {
			c.result.OtherEngines = append(c.result.OtherEngines, t.TableName)
			continue
		}
		tables = append(tables, t)
		total += t.Bytes
		if _, ok := c.recorded[t.TableName]; ok {
			total += t.Bytes
		}
	}
	c.progress.Start(int64(total))
	c.result.Tables = len(tables)
	if !found[mysqlx.TableName{Schema: "mysql", Table: "user"}] {
		c.result.fail(FailedTables, mysqlx.TableName{}, fmt.Sprintf("mysql.user is not among its %d tables", len(all)))
	}
	for name := range c.recorded {
		if !found[name] {
			c.result.fail(FailedMissing, name, "the donor had it before and after the backup")
		}
	}
	if r := c.options.Recorded; r != nil {
		c.result.ChangedDuringBackup = len(r.Changed)
		c.result.WithoutChecksum = len(r.LeftOut) + r.NotListed
	} else {
		c.result.WithoutChecksum = len(tables)
	}
	slices.SortStableFunc(tables, func(a, b mysqlx.BaseTable) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return tables, nil
}

// table reads one table. Its errors are those of the connection.
func (c *check) table(ctx context.Context, db *mysqlx.DB, t mysqlx.BaseTable) error {
	c.setReading(t.TableName, true)
	problems, err := db.CheckTable(ctx, t.TableName)
	if lost(err) {
		return err
	}
	if err != nil {
		problems = []string{err.Error()}
	}
	recorded, compare := c.recorded[t.TableName]
	var checksum uint32
	if compare && len(problems) == 0 {
		c.progress.Add(int64(t.Bytes))
		if checksum, err = db.ChecksumTable(ctx, t.TableName); lost(err) {
			return err
		}
		if err != nil {
			problems = []string{err.Error()}
		}
	}
	differs := ""
	if compare && len(problems) == 0 && checksum != recorded.Checksum {
		differs = fmt.Sprintf("checksum %d, on the donor %d; %d rows there", checksum, recorded.Checksum, recorded.Rows)
		if rows, err := db.CountRows(ctx, t.TableName); err == nil {
			differs = fmt.Sprintf("checksum %d of %d rows, on the donor %d of %d", checksum, rows, recorded.Checksum, recorded.Rows)
		}
	}
	c.setReading(t.TableName, false)
	c.progress.Add(int64(t.Bytes))

	c.mu.Lock()
	defer c.mu.Unlock()
	c.result.Checked++
	c.result.Bytes += t.Bytes
	switch {
	case len(problems) > 0:
		c.result.fail(FailedCheck, t.TableName, strings.Join(problems, "; "))
	case differs != "":
		c.result.Compared++
		c.result.fail(FailedChecksum, t.TableName, differs)
	case compare:
		c.result.Compared++
	}
	return nil
}

func (c *check) fullText(ctx context.Context, db *mysqlx.DB) error {
	indexes, err := db.FullTextIndexes(ctx)
	if err != nil {
		return err
	}
	for _, index := range indexes {
		c.setReading(index.TableName, true)
		err := db.ReadFullTextIndex(ctx, index)
		if lost(err) {
			return err
		}
		c.setReading(index.TableName, false)
		c.result.FullText++
		if err != nil {
			c.result.fail(FailedFullText, index.TableName, err.Error())
		}
	}
	return nil
}

func (c *check) setReading(name mysqlx.TableName, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if on {
		c.reading[name] = true
	} else {
		delete(c.reading, name)
	}
}

// lost says that an error is not the server's word about a table.
func lost(err error) bool {
	return err != nil && !errors.Is(err, mysqlx.ErrNoTable) && (mysqlx.ErrorNumber(err) == 0 || mysqlx.IsUnreachable(err))
}

// expected are the transactions that a backup says it has.
type expected struct {
	exactly, atLeast, atMost mysqlx.GTIDSet
	known, bounded           bool // exactly and atMost are set
}

func parseExpected(o Options) (e expected, err error) {
	for _, part := range []struct {
		name, text string
		set        *mysqlx.GTIDSet
	}{
		{"gtid_executed", o.GTIDExecuted, &e.exactly},
		{"gtid_at_least", o.GTIDAtLeast, &e.atLeast},
		{"gtid_at_most", o.GTIDAtMost, &e.atMost},
	} {
		if *part.set, err = mysqlx.ParseGTIDSet(part.text); err != nil {
			return e, fmt.Errorf("%s of the backup: %w", part.name, err)
		}
	}
	e.known, e.bounded = o.GTIDExecuted != "", o.GTIDAtMost != ""
	return e, nil
}

// compare notes what executed has too much or too little of.
func (e expected) compare(executed mysqlx.GTIDSet, r *Result) {
	least, most := e.atLeast, e.atMost
	if e.known {
		least, most = least.Union(e.exactly), e.exactly
	}
	if lacks := least.Subtract(executed); !lacks.IsEmpty() {
		r.fail(FailedGTID, mysqlx.TableName{}, "the backup says it has these transactions, and it has not: "+lacks.String())
	}
	if beyond := executed.Subtract(most); (e.known || e.bounded) && !beyond.IsEmpty() {
		r.fail(FailedGTID, mysqlx.TableName{}, "it has transactions that were not there when the backup was made: "+beyond.String())
	}
}

// silent is progress that nobody wants to know.
type silent struct{}

func (silent) Start(int64)     {}
func (silent) SetStage(string) {}
func (silent) Add(int64)       {}
