package mutants

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// Mutant is one wrong change to one file.
type Mutant struct {
	File string // its name, without the folder
	Line int
	Func string // in which it is
	Was  string // the code before and after, each in one line
	Now  string

	offset, end int
	text        string // what stands there instead
}

// Key names a mutant whatever the lines are.
func (m Mutant) Key() string { return m.File + ": " + m.Func + ": " + m.Was + " => " + m.Now }

// Apply makes the change.
func (m Mutant) Apply(source []byte) []byte {
	return slices.Concat(source[:m.offset], []byte(m.text), source[m.end:])
}

// Of lists the mutants of a file, in the order of the source.
func Of(name string, source []byte) ([]Mutant, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("mutants: %w", err)
	}
	m := &maker{name: name, source: source, fset: fset}
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Body != nil {
			m.function = f.Name.Name
			ast.Inspect(f.Body, m.visit)
		}
	}
	slices.SortStableFunc(m.made, func(a, b Mutant) int { return a.offset - b.offset })
	return m.made, nil
}

type maker struct {
	name, function string
	source         []byte
	fset           *token.FileSet
	made           []Mutant
}

func (m *maker) at(pos token.Pos) int { return m.fset.Position(pos).Offset }

func (m *maker) code(n ast.Node) string { return string(m.source[m.at(n.Pos()):m.at(n.End())]) }

// replace notes the change of a node to a text.
func (m *maker) replace(n ast.Node, text string) {
	m.made = append(m.made, Mutant{
		File: m.name, Line: m.fset.Position(n.Pos()).Line, Func: m.function, Was: line(m.code(n)), Now: line(text),
		offset: m.at(n.Pos()), end: m.at(n.End()), text: text,
	})
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
		m.condition(n)
	case *ast.BinaryExpr:
		if other, ok := swaps[n.Op]; ok && !isError(n) {
			m.replace(n, m.code(n.X)+" "+other.String()+" "+m.code(n.Y))
		}
	case *ast.BasicLit:
		if v, err := strconv.Atoi(n.Value); err == nil && n.Kind == token.INT && v < 1<<20 {
			m.replace(n, strconv.Itoa(v+1))
		}
	case *ast.ReturnStmt:
		if len(n.Results) > 0 {
			if last, ok := n.Results[len(n.Results)-1].(*ast.Ident); ok && last.Name == "err" {
				m.replace(last, "nil")
			}
		}
	case *ast.BlockStmt:
		for _, s := range n.List {
			m.drop(s)
		}
	case *ast.CaseClause:
		for _, s := range n.Body {
			m.drop(s)
		}
	}
	return true
}

// condition makes a branch that is never taken: of an error it is the error that is swallowed.
func (m *maker) condition(s *ast.IfStmt) {
	m.replace(s.Cond, "("+m.code(s.Cond)+") && false")
	if !isError(s.Cond) {
		m.replace(s.Cond, "("+m.code(s.Cond)+") || true")
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

// drop leaves a statement out that has an effect.
func (m *maker) drop(s ast.Stmt) {
	switch s := s.(type) {
	case *ast.ExprStmt, *ast.IncDecStmt, *ast.DeferStmt, *ast.SendStmt:
	case *ast.AssignStmt:
		if s.Tok == token.DEFINE {
			return
		}
	default:
		return
	}
	m.replace(s, "")
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
