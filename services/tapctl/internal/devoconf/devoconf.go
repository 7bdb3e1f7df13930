// Package devoconf reads the configuration of Devo's own collector, in its on-premise form (YAML)
// and its hosted form (JSON), and says what it is in Tapline's variables and what has no
// equivalent.
//
// Every error names the file, the line and the key. Values of secrets are in no error and in no
// note.
package devoconf

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tapline/tapline/pkg/config"
)

// maxSize bounds a configuration file.
const maxSize = 1 << 20

// Options say how to read.
type Options struct {
	Name  string    // of the file, for errors, and the folder that relative names of certificates begin at
	Input string    // the input to migrate when there are several of Proofpoint TAP
	Now   time.Time // the start of collection is at most seven days before
}

// Migration is what the configuration means to Tapline.
type Migration struct {
	Env          []Setting     `json:"env"`
	Certificates []Certificate `json:"certificates"`
	Notes        []Note        `json:"notes"` // what has no equivalent, or another meaning
	Secret       config.Secret `json:"-"`     // of Proofpoint's credential
}

// Setting is one variable.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Why   string `json:"why,omitempty"` // where it comes from
}

// Certificate is a file that Devo's collector uses, and the variable for it.
type Certificate struct {
	Variable string `json:"variable"`
	Path     string `json:"path"`
}

// Note is about one key.
type Note struct {
	Line int    `json:"line"`
	Key  string `json:"key"`
	Text string `json:"text"`
}

// Parse reads a configuration.
func Parse(data []byte, o Options) (*Migration, error) {
	r := &reader{opts: o, m: &Migration{Env: []Setting{}, Certificates: []Certificate{}, Notes: []Note{}}}
	root, err := r.document(data)
	if err != nil {
		return nil, err
	}
	for _, step := range []func(member) error{r.globals, r.outputs, r.inputs} {
		if err := step(root); err != nil {
			return nil, err
		}
	}
	for _, m := range root.members() {
		switch m.name {
		case "globals", "global_overrides", "outputs", "inputs":
		default:
			r.note(m, "not a part of a collector's configuration that we know")
		}
	}
	return r.m, nil
}

// reader is the state of one parse.
type reader struct {
	opts Options
	m    *Migration
}

// quotedText may repeat a part of a secret in what the YAML parser says.
var quotedText = regexp.MustCompile(`'[^']*'|"[^"]*"`)

func (r *reader) document(data []byte) (member, error) {
	if len(data) > maxSize {
		return member{}, config.Invalid(r.opts.Name, "", "the file is larger than 1 MiB: want the configuration of a Devo collector")
	}
	text := strings.TrimPrefix(string(data), "\ufeff")
	if strings.HasPrefix(strings.TrimSpace(text), "{") { // JSON, where a tab is a space
		text = strings.ReplaceAll(text, "\t", " ")
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		reason := strings.TrimPrefix(err.Error(), "yaml: ")
		return member{}, config.Invalid(r.opts.Name, "", "is neither YAML nor JSON: "+quotedText.ReplaceAllString(reason, "'...'"))
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return member{}, config.Invalid(r.opts.Name, "", "want globals, outputs and inputs, as Devo's collector has them")
	}
	root := member{node: doc.Content[0]}
	if err := r.unambiguous(root, 0); err != nil {
		return member{}, err
	}
	return root, nil
}

// unambiguous refuses what one file could mean in two ways: a key twice, an alias, depth without
// end.
func (r *reader) unambiguous(m member, depth int) error {
	if m.node.Kind == yaml.AliasNode {
		return r.problem(m, "an alias (*) stands here: write the value out")
	}
	if depth > 20 {
		return r.problem(m, "is nested too deeply")
	}
	seen := make(map[string]bool)
	for _, child := range m.members() {
		if seen[child.name] {
			return r.problem(child, "stands here for the second time")
		}
		seen[child.name] = true
		if err := r.unambiguous(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// member is one key with its value.
type member struct {
	path, name string
	line       int
	node       *yaml.Node
}

// members lists what is below a mapping; of anything else, nothing.
func (m member) members() []member {
	var all []member
	if m.node == nil || m.node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(m.node.Content); i += 2 {
		key := m.node.Content[i]
		path := key.Value
		if m.path != "" {
			path = m.path + "." + key.Value
		}
		all = append(all, member{path, key.Value, key.Line, m.node.Content[i+1]})
	}
	return all
}

// get finds a member by any of its names.
func (m member) get(names ...string) member {
	for _, name := range names {
		for _, child := range m.members() {
			if child.name == name {
				return child
			}
		}
	}
	path := names[0]
	if m.path != "" {
		path = m.path + "." + path
	}
	return member{path: path, name: names[0], line: m.line}
}

func (m member) exists() bool {
	return m.node != nil && (m.node.Kind != yaml.ScalarNode || m.node.Tag != "!!null")
}

// text is a scalar as it is written; "" for what is missing.
func (r *reader) text(m member) (string, error) {
	if !m.exists() {
		return "", nil
	}
	if m.node.Kind != yaml.ScalarNode {
		return "", r.problem(m, "want a single value")
	}
	if strings.ContainsFunc(m.node.Value, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return "", r.problem(m, "has a control character or more than one line")
	}
	return m.node.Value, nil
}

// flag is a truth value, with what it is when it is missing.
func (r *reader) flag(m member, missing bool) (bool, error) {
	text, err := r.text(m)
	if err != nil || text == "" {
		return missing, err
	}
	switch strings.ToLower(text) {
	case "true", "yes", "on":
		return true, nil
	case "false", "no", "off":
		return false, nil
	}
	return false, r.problem(m, "want true or false")
}

func (r *reader) problem(m member, reason string) error {
	where := r.opts.Name
	if m.line > 0 {
		where = fmt.Sprintf("%s:%d", r.opts.Name, m.line)
	}
	if m.path != "" {
		where += ": " + m.path
	}
	return config.Invalid(where, "", reason)
}

func (r *reader) note(m member, text string) {
	r.m.Notes = append(r.m.Notes, Note{m.line, m.path, text})
}

func (r *reader) set(name, value, why string) {
	r.m.Env = append(r.m.Env, Setting{name, value, why})
}

// errQuote says that a value cannot be written into a file of variables.
var errQuote = errors.New("has a quotation mark, which a file of variables cannot hold")

// simple is what needs no quotes.
var simple = regexp.MustCompile(`^[A-Za-z0-9_./:@,+=-]*$`)

// Line is the setting as it stands in a .env file, which a shell and docker compose read alike.
func (s Setting) Line() (string, error) {
	if simple.MatchString(s.Value) {
		return s.Name + "=" + s.Value, nil
	}
	if strings.ContainsAny(s.Value, "'\n\r") {
		return "", fmt.Errorf("%s: %w", s.Name, errQuote)
	}
	return s.Name + "='" + s.Value + "'", nil
}

// certificate resolves the name of a file as the collector does: relative names stand in ./certs,
// beside the folder of the configuration.
func (r *reader) certificate(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(r.opts.Name), "..", "certs", name)
}
