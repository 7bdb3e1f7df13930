package mutants

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// Mutant is one wrong change to one file.
type Mutant struct {
	File string // its name, without the folder
	Line int
	Last int    // its last line
	Func string // in which it is
	Was  string // the code before and after, each in one line
	Now  string

	offset, end int
	text        string // what stands there instead
	kind        kind
	x, y        span   // the operands of a swapped operator
	of          string // the type of a swapped operator or a number, as the file writes it
}

// span is a piece of a file.
type span struct{ from, to int }

// kind is what a mutant does. Of the mutants of one expression the lower is the inner one.
type kind int

const (
	swapped kind = iota
	number
	noError
	never
	always
	dropped
)

// Key names a mutant whatever the lines are.
func (m Mutant) Key() string { return m.File + ": " + m.Func + ": " + m.Was + " => " + m.Now }

// Apply makes the change.
func (m Mutant) Apply(source []byte) []byte {
	return slices.Concat(source[:m.offset], []byte(m.text), source[m.end:])
}

// of lists the mutants of a file, in the order of the source.
func of(name string, source []byte, file *ast.File, types types) []Mutant {
	m := &maker{name: name, source: source, types: types}
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Body != nil {
			m.function = f.Name.Name
			ast.Inspect(f.Body, m.visit)
		}
	}
	slices.SortStableFunc(m.made, func(a, b Mutant) int { return a.offset - b.offset })
	return m.made
}

type maker struct {
	name, function string
	source         []byte
	types          types
	made           []Mutant
}

func (m *maker) at(pos token.Pos) int { return m.types.fset.Position(pos).Offset }

func (m *maker) span(n ast.Node) span { return span{m.at(n.Pos()), m.at(n.End())} }

func (m *maker) code(n ast.Node) string { return string(m.source[m.at(n.Pos()):m.at(n.End())]) }

// replace adds the change of a node to a text.
func (m *maker) replace(k kind, n ast.Node, text string) *Mutant {
	m.made = append(m.made, Mutant{
		kind: k, File: m.name, Line: m.types.fset.Position(n.Pos()).Line, Last: m.types.fset.Position(n.End()).Line, Func: m.function, Was: line(m.code(n)), Now: line(text),
		offset: m.at(n.Pos()), end: m.at(n.End()), text: text,
	})
	return &m.made[len(m.made)-1]
}

func line(code string) string {
	const enough = 100
	code = strings.Join(strings.Fields(code), " ")
	if len(code) > enough {
		code = code[:enough]
	}
	return code
}

// swaps are operators and what is put in their place.
var swaps = map[token.Token]token.Token{
	token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR, token.EQL: token.NEQ, token.NEQ: token.EQL,
	token.ADD: token.SUB, token.SUB: token.ADD, token.MUL: token.QUO, token.QUO: token.MUL, token.LAND: token.LOR, token.LOR: token.LAND,
}

func (m *maker) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.IfStmt:
		if onlyLogs(n) {
			if n.Init != nil {
				ast.Inspect(n.Init, m.visit)
			}
			return false
		}
		m.condition(n)
	case *ast.GenDecl:
		return n.Tok != token.CONST
	case *ast.CallExpr:
		return !logs(n)
	case *ast.BinaryExpr:
		if other, ok := swaps[n.Op]; ok && !isError(n) {
			if of, ok := m.types.written(n); ok && (of != "string" || n.Op != token.ADD) {
				made := m.replace(swapped, n, m.code(n.X)+" "+other.String()+" "+m.code(n.Y))
				made.x, made.y, made.of = m.span(n.X), m.span(n.Y), of
			}
		}
	case *ast.BasicLit:
		if v, err := strconv.Atoi(n.Value); err == nil && n.Kind == token.INT && v < 1<<20 {
			if of, ok := m.types.written(n); ok {
				m.replace(number, n, strconv.Itoa(v+1)).of = of
			}
		}
	case *ast.ReturnStmt:
		if len(n.Results) > 0 {
			if last, ok := n.Results[len(n.Results)-1].(*ast.Ident); ok && last.Name == "err" {
				m.replace(noError, last, "nil")
			}
		}
	case *ast.BlockStmt:
		m.drop(n.List)
	case *ast.CaseClause:
		m.drop(n.Body)
	}
	return true
}

// logs reports whether a call writes a log.
func logs(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains([]string{"Debug", "Info", "Warn", "Error"}, f.Sel.Name) {
		return false
	}
	switch x := f.X.(type) {
	case *ast.Ident:
		return x.Name == "log" || x.Name == "slog"
	case *ast.SelectorExpr:
		return x.Sel.Name == "log" || x.Sel.Name == "Log"
	}
	return false
}

// onlyLogs reports whether all that a branch does is to write logs.
func onlyLogs(s *ast.IfStmt) bool {
	return s.Else == nil && !slices.ContainsFunc(s.Body.List, func(s ast.Stmt) bool {
		e, ok := s.(*ast.ExprStmt)
		return !ok || !logs(e.X)
	})
}

// condition makes a branch that is never taken: of an error it is the error that is swallowed.
func (m *maker) condition(s *ast.IfStmt) {
	m.replace(never, s.Cond, "("+m.code(s.Cond)+") && false")
	if !isError(s.Cond) {
		m.replace(always, s.Cond, "("+m.code(s.Cond)+") || true")
	}
}

// isError reports whether an expression asks for an error: its opposite breaks everything at once.
func isError(e ast.Expr) bool {
	b, ok := e.(*ast.BinaryExpr)
	if !ok {
		return false
	}
	y, ok := b.Y.(*ast.Ident)
	return ok && y.Name == "nil"
}

// drop leaves statements out that have an effect.
func (m *maker) drop(list []ast.Stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.ExprStmt:
			if logs(s.X) {
				continue
			}
		case *ast.IncDecStmt, *ast.DeferStmt, *ast.SendStmt:
		case *ast.AssignStmt:
			if s.Tok == token.DEFINE {
				continue
			}
		default:
			continue
		}
		m.replace(dropped, s, "")
	}
}

// Valid reports whether the change leaves something that can be parsed and is not the same.
func (m Mutant) Valid(source []byte) bool {
	before, err := format.Source(source)
	if err != nil {
		return false
	}
	after, err := format.Source(m.Apply(source))
	return err == nil && !bytes.Equal(before, after)
}
