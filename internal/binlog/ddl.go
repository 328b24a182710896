package binlog

import "slices"

// effectsOf says what a statement does, as far as can be told from its text. schema is the default one. cut says that the text is only the statement's
// beginning. What is not understood is an effect too: ActionUnclear. So nothing is ever missing from a list that is searched for the names that
// matter, and something may be in it that does not belong there.
func effectsOf(schema, text string, mode sqlMode, cut bool) []Effect {
	p := statementParser{sqlScanner: sqlScanner{text: text, mode: mode}, schema: schema}
	p.statement()
	if p.open || cut && p.at >= len(p.text) && !p.complete || len(p.effects) == 0 {
		p.unclear()
	}
	return slices.Compact(p.effects)
}

type statementParser struct {
	sqlScanner
	schema   string // the default
	effects  []Effect
	complete bool // all names were read: what follows does not matter
}

func (p *statementParser) add(a Action, object, schema, name string) {
	if len(p.effects) < maxEffects {
		p.effects = append(p.effects, Effect{a, object, schema, name})
	}
}

func (p *statementParser) unclear() { p.effects = append(p.effects, Effect{Action: ActionUnclear}) }

func (p *statementParser) other() {
	p.complete = true
	p.effects = append(p.effects, Effect{Action: ActionOther})
}

// name reads schema.name or name.
func (p *statementParser) name() (schema, name string, ok bool) {
	if p.take(".") { // .name, an old spelling
		t := p.next()
		return p.schema, t.text, t.isName()
	}
	t := p.next()
	if !t.isName() {
		return "", "", false
	}
	if !p.take(".") {
		return p.schema, t.text, true
	}
	n := p.next()
	if n.is("*") {
		return p.schema, t.text, true // t.* in the list of a DELETE
	}
	if !n.isName() {
		return "", "", false
	}
	if p.peek().is(".") && p.take(".") && p.take("*") { // schema.t.*
		return t.text, n.text, true
	}
	return t.text, n.text, true
}

// object reads one name and notes what happens to it.
func (p *statementParser) object(a Action, kind string) bool {
	schema, name, ok := p.name()
	if !ok {
		p.unclear()
		return false
	}
	p.add(a, kind, schema, name)
	return true
}

// objects reads names with commas between.
func (p *statementParser) objects(a Action, kind string) {
	for p.object(a, kind) && p.take(",") {
	}
}

// ifExists passes over IF EXISTS and IF NOT EXISTS.
func (p *statementParser) ifExists() {
	if p.take("IF") {
		p.skip("NOT")
		p.skip("EXISTS")
	}
}

func (p *statementParser) statement() {
	p.skip("(") // (SELECT …) and the like
	switch first := p.next(); {
	case first.is("CREATE"):
		p.create()
	case first.is("DROP"):
		p.drop()
	case first.is("ALTER"):
		p.alter()
	case first.is("RENAME"):
		p.rename()
	case first.is("TRUNCATE"):
		p.skip("TABLE")
		p.object(ActionTruncate, ObjectTable)
		p.complete = true
	case first.is("ANALYZE", "OPTIMIZE", "REPAIR", "CHECK"):
		p.skip("NO_WRITE_TO_BINLOG", "LOCAL")
		if p.take("TABLE", "TABLES") {
			p.objects(ActionMaintain, ObjectTable)
		}
	case first.is("INSERT", "REPLACE"):
		p.skip("LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO")
		a := ActionInsert
		p.object(a, ObjectTable)
		if first.is("REPLACE") && len(p.effects) == 1 && p.effects[0].Action == a {
			e := p.effects[0]
			p.add(ActionDelete, e.Object, e.Schema, e.Name)
		}
		p.complete = true
	case first.is("UPDATE"):
		p.skip("LOW_PRIORITY", "IGNORE")
		p.references(ActionUpdate, "SET")
	case first.is("DELETE"):
		p.delete()
	case first.is("LOAD"):
		p.load()
	case first.is("WITH"):
		p.with()
	case first.is("GRANT", "REVOKE"):
		p.complete = true
		p.add(ActionAlter, ObjectAccount, "", "")
	case first.is("SET"):
		p.complete = true
		if p.take("PASSWORD", "DEFAULT") { // DEFAULT ROLE
			p.add(ActionAlter, ObjectAccount, "", "")
			return
		}
		p.other()
	case first.is("FLUSH", "XA", "BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "USE", "INSTALL", "UNINSTALL"):
		p.other()
	}
}

// until passes over tokens up to one of these words, which is taken. ok is false if none comes.
func (p *statementParser) until(words ...string) bool {
	for {
		t := p.next()
		if t.kind == tokenEnd {
			return false
		}
		if t.is(words...) {
			return true
		}
	}
}

func (p *statementParser) create() {
	if p.take("OR") {
		p.skip("REPLACE")
	}
	for {
		switch t := p.next(); {
		case t.is("TEMPORARY", "UNIQUE", "FULLTEXT", "SPATIAL", "AGGREGATE", "UNDO", "EXTERNAL", "MATERIALIZED"):
			if t.is("SPATIAL") && p.peek().is("REFERENCE") {
				p.other()
				return
			}
		case t.is("ALGORITHM"):
			p.skip("=")
			p.next()
		case t.is("SQL"): // SQL SECURITY DEFINER
			p.next()
			p.next()
		case t.is("DEFINER"):
			p.definer()
		case t.is("TABLE"):
			p.ifExists()
			p.object(ActionCreate, ObjectTable)
			p.complete = true
			return
		case t.is("INDEX"):
			p.indexOn()
			return
		case t.is("VIEW"):
			p.ifExists()
			p.object(ActionCreate, ObjectView)
			p.complete = true
			return
		case t.is("DATABASE", "SCHEMA"):
			p.ifExists()
			p.wholeSchema(ActionCreate)
			return
		case t.is("TRIGGER"):
			p.ifExists()
			if p.object(ActionCreate, ObjectTrigger) {
				p.onTable()
			}
			return
		case t.is("PROCEDURE", "FUNCTION", "LIBRARY"):
			p.ifExists()
			p.object(ActionCreate, ObjectRoutine)
			p.complete = true
			return
		case t.is("EVENT"):
			p.ifExists()
			p.object(ActionCreate, ObjectEvent)
			p.complete = true
			return
		case t.is("USER", "ROLE"):
			p.add(ActionCreate, ObjectAccount, "", "")
			p.complete = true
			return
		case t.is("SERVER", "TABLESPACE", "LOGFILE", "RESOURCE"):
			p.other()
			return
		default:
			p.unclear()
			return
		}
	}
}

// definer passes over = account, which may be CURRENT_USER() or a name with a host.
func (p *statementParser) definer() {
	p.skip("=")
	p.next()
	p.skip("(", ")")
	if p.take("@") {
		p.next()
	}
}

// indexOn reads what follows CREATE INDEX and DROP INDEX.
func (p *statementParser) indexOn() {
	p.ifExists()
	p.next() // the index
	p.onTable()
}

// onTable reads the table that an index or a trigger belongs to.
func (p *statementParser) onTable() {
	if !p.until("ON") {
		p.unclear()
		return
	}
	p.object(ActionAlter, ObjectTable)
	p.complete = true
}

func (p *statementParser) wholeSchema(a Action) {
	t := p.peek()
	switch {
	case a == ActionAlter && !t.isName(), a == ActionAlter && t.is("CHARACTER", "CHARSET", "COLLATE", "DEFAULT", "ENCRYPTION", "READ"):
		p.add(a, ObjectSchema, p.schema, "") // ALTER DATABASE without a name
	case t.isName():
		p.add(a, ObjectSchema, p.next().text, "")
	default:
		p.unclear()
	}
	p.complete = true
}

func (p *statementParser) drop() {
	p.skip("TEMPORARY", "UNDO", "SPATIAL")
	switch t := p.next(); {
	case t.is("TABLE", "TABLES"):
		p.ifExists()
		p.objects(ActionDrop, ObjectTable)
	case t.is("VIEW"):
		p.ifExists()
		p.objects(ActionDrop, ObjectView)
	case t.is("INDEX"):
		p.indexOn()
	case t.is("DATABASE", "SCHEMA"):
		p.ifExists()
		p.wholeSchema(ActionDrop)
	case t.is("TRIGGER"):
		p.ifExists()
		p.object(ActionDrop, ObjectTrigger)
	case t.is("PROCEDURE", "FUNCTION", "LIBRARY"):
		p.ifExists()
		p.object(ActionDrop, ObjectRoutine)
	case t.is("EVENT"):
		p.ifExists()
		p.object(ActionDrop, ObjectEvent)
	case t.is("USER", "ROLE"):
		p.add(ActionDrop, ObjectAccount, "", "")
		p.complete = true
	case t.is("SERVER", "TABLESPACE", "LOGFILE", "RESOURCE", "REFERENCE", "PREPARE"):
		p.other()
	default:
		p.unclear()
	}
}

func (p *statementParser) alter() {
	for {
		switch t := p.next(); {
		case t.is("ALGORITHM"):
			p.skip("=")
			p.next()
		case t.is("SQL"):
			p.next()
			p.next()
		case t.is("DEFINER"):
			p.definer()
		case t.is("IGNORE", "ONLINE", "OFFLINE", "UNDO"):
		case t.is("TABLE"):
			p.ifExists()
			p.alterTable()
			return
		case t.is("VIEW"):
			p.object(ActionAlter, ObjectView)
			p.complete = true
			return
		case t.is("DATABASE", "SCHEMA"):
			p.wholeSchema(ActionAlter)
			return
		case t.is("PROCEDURE", "FUNCTION", "LIBRARY"):
			p.object(ActionAlter, ObjectRoutine)
			p.complete = true
			return
		case t.is("EVENT"):
			p.object(ActionAlter, ObjectEvent)
			p.complete = true
			return
		case t.is("USER", "ROLE"):
			p.add(ActionAlter, ObjectAccount, "", "")
			p.complete = true
			return
		case t.is("SERVER", "TABLESPACE", "LOGFILE", "RESOURCE", "INSTANCE"):
			p.other()
			return
		default:
			p.unclear()
			return
		}
	}
}

// alterTable looks at the first words of each change for those that touch another table, or data.
func (p *statementParser) alterTable() {
	schema, name, ok := p.name()
	if !ok {
		p.unclear()
		return
	}
	p.add(ActionAlter, ObjectTable, schema, name)
	depth, begins := 0, true
	for t := p.next(); t.kind != tokenEnd; t = p.next() {
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case depth == 0 && t.is(","):
			begins = true
			continue
		case depth > 0:
		case t.is("EXCHANGE"): // PARTITION p WITH TABLE t
			if p.until("TABLE") {
				p.object(ActionAlter, ObjectTable)
			}
		case begins && t.is("RENAME") && !p.peek().is("COLUMN", "INDEX", "KEY"):
			p.skip("TO", "AS", "=")
			p.add(ActionRename, ObjectTable, schema, name)
			p.object(ActionRename, ObjectTable)
		case begins && t.is("DROP") && p.peek().is("PARTITION"):
			p.add(ActionDrop, ObjectPartition, schema, name)
		case begins && t.is("TRUNCATE") && p.peek().is("PARTITION"):
			p.add(ActionTruncate, ObjectPartition, schema, name)
		case begins && t.is("DISCARD") && p.peek().is("TABLESPACE", "PARTITION"):
			p.add(ActionDrop, ObjectPartition, schema, name)
		}
		begins = false
	}
}

func (p *statementParser) rename() {
	if p.take("USER") {
		p.add(ActionAlter, ObjectAccount, "", "")
		p.complete = true
		return
	}
	if !p.take("TABLE", "TABLES") {
		p.unclear()
		return
	}
	for p.object(ActionRename, ObjectTable) {
		if !p.take("TO", "AS") {
			p.unclear()
			return
		}
		if !p.object(ActionRename, ObjectTable) || !p.take(",") {
			return
		}
	}
}

// references reads the tables that a statement on several of them names, up to a word or the end: the first one and those after commas and JOIN. An alias may
// be among them, and what is only read.
func (p *statementParser) references(a Action, end string) {
	expected := true // a name
	for t := p.peek(); t.kind != tokenEnd; t = p.peek() {
		switch {
		case end != "" && t.is(end), t.is("WHERE"):
			p.complete = true
			return
		case t.is("("):
			p.next()
			if !expected || p.peek().is("SELECT", "WITH", "VALUES", "TABLE") {
				p.closeBracket()
				expected = false
			}
		case t.is(",", "JOIN", "STRAIGHT_JOIN", "USING"):
			p.next()
			expected = !t.is("USING") || !p.peek().is("(")
		case expected && t.isName() && !t.is("LATERAL"):
			p.object(a, ObjectTable)
			expected = false
		default:
			p.next()
		}
	}
	if end != "" {
		p.unclear()
	}
}

// closeBracket goes behind the bracket that closes the one that was taken.
func (p *statementParser) closeBracket() {
	for depth := 1; depth > 0; {
		switch t := p.next(); {
		case t.kind == tokenEnd:
			return
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		}
	}
}

func (p *statementParser) delete() {
	p.skip("LOW_PRIORITY", "QUICK", "IGNORE")
	if p.take("FROM") {
		p.references(ActionDelete, "")
		return
	}
	p.references(ActionDelete, "FROM") // what is deleted from, by name or alias
	if p.take("FROM") {
		p.complete = false
		p.references(ActionDelete, "")
	}
}

func (p *statementParser) load() {
	if !p.until("INTO") || !p.take("TABLE") {
		p.unclear()
		return
	}
	p.object(ActionInsert, ObjectTable)
	p.complete = true
}

// with finds the statement behind common table expressions.
func (p *statementParser) with() {
	depth := 0
	for t := p.next(); t.kind != tokenEnd; t = p.next() {
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case depth == 0 && t.is("UPDATE"):
			p.skip("LOW_PRIORITY", "IGNORE")
			p.references(ActionUpdate, "SET")
			return
		case depth == 0 && t.is("DELETE"):
			p.delete()
			return
		}
	}
}
