package architecture

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A sourceFile is one parsed Go file of the module.
type sourceFile struct {
	module string // path of the module: the prefix of our own imports
	name   string // relative to the module's root, with slashes
	syntax *ast.File
	fset   *token.FileSet
	lines  int
}

func parseSource(module, name string, src []byte) (*sourceFile, error) {
	fset := token.NewFileSet()
	syntax, err := parser.ParseFile(fset, name, src, parser.ParseComments)
	if err != nil {
		return nil, err // names file and line
	}
	return &sourceFile{module, name, syntax, fset, strings.Count(string(src), "\n")}, nil
}

// pkg is the package's folder relative to the module's root.
func (f *sourceFile) pkg() string    { return path.Dir(f.name) }
func (f *sourceFile) isTest() bool   { return strings.HasSuffix(f.name, "_test.go") }
func (f *sourceFile) forTests() bool { return f.isTest() || within(f.pkg(), testingTree) }

// finding formats one broken rule: where, what, and what to do about it.
func (f *sourceFile) finding(pos token.Pos, what, remedy string) string {
	return fmt.Sprintf("%s:%d: %s: %s", f.name, f.fset.Position(pos).Line, what, remedy)
}

// within says whether a package is the tree's root or below it.
func within(pkg, tree string) bool { return pkg == tree || strings.HasPrefix(pkg, tree+"/") }

// readTree parses every Go file of the module whose go.mod is in root. It leaves out testdata, hidden folders and
// nested modules. Files that do not parse come back as findings.
func readTree(root string) (files []*sourceFile, findings []string, err error) {
	gomod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, nil, err
	}
	match := regexp.MustCompile(`(?m)^module (\S+)`).FindSubmatch(gomod)
	if match == nil {
		return nil, nil, fmt.Errorf("%s/go.mod names no module", root)
	}
	err = fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != ".":
			hidden := strings.HasPrefix(entry.Name(), ".") || strings.HasPrefix(entry.Name(), "_")
			_, nested := os.Stat(filepath.Join(root, name, "go.mod"))
			if hidden || entry.Name() == "testdata" || nested == nil {
				return fs.SkipDir
			}
			return nil
		case path.Ext(name) != ".go":
			return nil
		}
		src, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		file, err := parseSource(string(match[1]), name, src)
		if err != nil {
			findings = append(findings, err.Error()+": make it compile")
			return nil
		}
		files = append(files, file)
		return nil
	})
	return files, findings, err
}

// check returns what one file breaks.
func check(f *sourceFile) []string {
	return slices.Concat(checkImports(f), checkCalls(f), checkLength(f), checkWords(f), checkComments(f))
}

func checkImports(f *sourceFile) (findings []string) {
	for _, spec := range f.syntax.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the compiler refuses it
		}
		var what, remedy string
		if ours, ok := strings.CutPrefix(imported, f.module+"/"); ok {
			what, remedy = checkOurs(f, ours)
		} else if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") {
			what, remedy = checkLibrary(f, imported)
		} else if imported == "flag" && f.pkg() != "cmd/agent" && !f.forTests() {
			what, remedy = f.pkg()+" imports flag", "take the value as an argument; cmd/agent reads the command line"
		}
		if what != "" {
			findings = append(findings, f.finding(spec.Pos(), what, remedy))
		}
	}
	return findings
}

// mayReach is what a package may import directly, patterns resolved.
func mayReach(pkg string) (below []string) {
	for other := range mayImport {
		if slices.ContainsFunc(mayImport[pkg], func(pattern string) bool { return matches(pattern, other) }) {
			below = append(below, other)
		}
	}
	return below
}

// reaches says whether a package may import another one, directly or through others. The table has no cycle.
func reaches(from, to string) bool {
	return slices.ContainsFunc(mayReach(from), func(below string) bool { return below == to || reaches(below, to) })
}

// matches says whether a pattern of the table, "a/b" or "a/*", names a package.
func matches(pattern, pkg string) bool {
	tree, all := strings.CutSuffix(pattern, "/*")
	return pkg == pattern || all && within(pkg, tree)
}

func checkOurs(f *sourceFile, imported string) (what, remedy string) {
	what = fmt.Sprintf("%s imports %s", f.pkg(), imported)
	if within(imported, testingTree) {
		if f.forTests() {
			return "", ""
		}
		return what, "only tests and " + testingTree + " may; move what the product needs out of there"
	}
	if within(f.pkg(), testingTree) || f.isTest() && !reaches(imported, f.pkg()) {
		return "", ""
	}
	allowed, known := mayImport[f.pkg()]
	if !known {
		return fmt.Sprintf("%s has no place in the layout", f.pkg()), "add it to mayImport in " + testingTree + "/architecture/rules_test.go"
	}
	if slices.ContainsFunc(allowed, func(pattern string) bool { return matches(pattern, imported) }) {
		return "", ""
	}
	return what, "imports point down only: let the package above bring the two together, or declare a small interface here"
}

func checkLibrary(f *sourceFile, imported string) (what, remedy string) {
	for library, users := range libraries {
		if !within(imported, library) {
			continue
		}
		for _, user := range users {
			if user == "*" || user == f.pkg() || user == "test" && f.forTests() {
				return "", ""
			}
		}
		return fmt.Sprintf("%s imports %s", f.pkg(), imported), "only these may: " + strings.Join(users, ", ")
	}
	return fmt.Sprintf("%s imports %s, which is no library of this project", f.pkg(), imported),
		"use what is there, or add it to libraries in " + testingTree + "/architecture/rules_test.go and say why in the commit"
}

func checkCalls(f *sourceFile) (findings []string) {
	simulated := simulatedDelays(f)
	ast.Inspect(f.syntax, func(node ast.Node) bool {
		// In a bubble of testing/synctest time is virtual: nobody waits.
		if call, ok := node.(*ast.CallExpr); ok && isSelector(call.Fun, "synctest.Test") {
			return false
		}
		if text, ok := node.(*ast.BasicLit); ok && strings.Contains(text.Value, "failed to ") && !f.forTests() {
			findings = append(findings, f.finding(text.Pos(), `"failed to"`, `name the operation alone: "open manifest: …"`))
		}
		selector, ok := node.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		pkg, ok := selector.X.(*ast.Ident)
		if !ok {
			return true
		}
		name := pkg.Name + "." + selector.Sel.Name
		if remedy := onlyInMain[name]; remedy != "" && f.pkg() != "cmd/agent" && !f.forTests() {
			findings = append(findings, f.finding(selector.Pos(), f.pkg()+" uses "+name, remedy))
		}
		if name == "time.Sleep" && !simulated[f.fset.Position(selector.Pos()).Line] {
			remedy := "wait on a channel, poll with a deadline, or use testing/synctest; a slow peer says \"simulates …\" in a comment beside it"
			if !f.forTests() {
				remedy = "select on a timer and ctx.Done(), so that the end of the context ends the wait"
			}
			findings = append(findings, f.finding(selector.Pos(), "time.Sleep", remedy))
		}
		return true
	})
	return findings
}

func isSelector(expr ast.Expr, name string) bool {
	selector, ok := expr.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := selector.X.(*ast.Ident)
	return ok && pkg.Name+"."+selector.Sel.Name == name
}

// simulatedDelays are the lines of a test that play something slow, by their own word.
func simulatedDelays(f *sourceFile) map[int]bool {
	lines := map[int]bool{}
	for _, group := range f.syntax.Comments {
		for _, comment := range group.List {
			if f.forTests() && strings.Contains(comment.Text, "simulates ") {
				lines[f.fset.Position(comment.Pos()).Line] = true
			}
		}
	}
	return lines
}

func checkLength(f *sourceFile) []string {
	if f.lines <= maxLines {
		return nil
	}
	return []string{fmt.Sprintf("%s:%d: file has %d lines, more than %d: ask what it hides, then split it by idea",
		f.name, maxLines+1, f.lines, maxLines)}
}

var (
	word    = regexp.MustCompile(`[A-Za-z0-9_]+`)
	oldWord = regexp.MustCompile(`(?i)` + strings.Join(oldWords, "|"))
)

func checkWords(f *sourceFile) (findings []string) {
	if within(f.pkg(), oldWordsBelongIn) || within(f.pkg(), testingTree+"/architecture") {
		return nil
	}
	look := func(pos token.Pos, text string) {
		for _, w := range word.FindAllString(text, -1) {
			if oldWord.MatchString(w) && allowedOldWords[w] == "" {
				findings = append(findings, f.finding(pos, fmt.Sprintf("the word %q", w),
					"say source and replica; what an older server needs belongs in "+oldWordsBelongIn))
			}
		}
	}
	ast.Inspect(f.syntax, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.ImportSpec:
			return false // how a library is called is not ours to choose
		case *ast.Ident:
			look(node.Pos(), node.Name)
		case *ast.BasicLit:
			if node.Kind == token.STRING {
				look(node.Pos(), node.Value)
			}
		}
		return true
	})
	return findings
}

// checkComments wants a comment on every exported name of the product, on its own or on its group.
func checkComments(f *sourceFile) (findings []string) {
	if f.forTests() {
		return nil
	}
	want := func(name *ast.Ident, comments ...*ast.CommentGroup) {
		if !name.IsExported() || slices.ContainsFunc(comments, func(c *ast.CommentGroup) bool { return c.Text() != "" }) {
			return
		}
		findings = append(findings, f.finding(name.Pos(), name.Name+" has no comment",
			"say what it is for, with units, errors, and who closes it"))
	}
	for _, decl := range f.syntax.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Recv == nil || ast.IsExported(receiver(decl)) && !needsNoComment[decl.Name.Name] {
				want(decl.Name, decl.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					want(spec.Name, decl.Doc, spec.Doc, spec.Comment)
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						want(name, decl.Doc, spec.Doc, spec.Comment)
					}
				}
			}
		}
	}
	return findings
}

// receiver is the name of the type a method belongs to.
func receiver(method *ast.FuncDecl) string {
	expr := method.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}

// checkPackages wants one package comment per folder, and no package outside the layout.
func checkPackages(files []*sourceFile) (findings []string) {
	commented, first := map[string]bool{}, map[string]*sourceFile{}
	for _, f := range files {
		if f.syntax.Doc.Text() != "" {
			commented[f.pkg()] = true
		}
		if first[f.pkg()] == nil {
			first[f.pkg()] = f
		}
	}
	for pkg, f := range first {
		if !commented[pkg] {
			findings = append(findings, f.finding(f.syntax.Package, "package "+pkg+" has no comment",
				"say what it is for, its main idea, what it does not do"))
		}
		if _, known := mayImport[pkg]; !known && !within(pkg, testingTree) {
			findings = append(findings, f.finding(f.syntax.Package, pkg+" has no place in the layout",
				"add it to mayImport in "+testingTree+"/architecture/rules_test.go"))
		}
	}
	return findings
}
