package tapctl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/services/tapctl/internal/devoconf"
)

// migration is one run of migrate devo.
type migration struct {
	out, form, input string
	print, force     bool

	*devoconf.Migration
	files []planned
}

// planned is a file that is to be written.
type planned struct {
	path string
	data []byte
	mode fs.FileMode
}

// Forms of a deployment.
const (
	formProcess = "process"
	formCompose = "compose"
)

// migrate reads the configuration of another collector.
func (t *tool) migrate() *cobra.Command {
	cmd := &cobra.Command{Use: "migrate", Short: "Take over the configuration of another collector", Args: takes(0), RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	m := &migration{}
	devo := &cobra.Command{
		Use: "devo CONFIG", Short: "Write .env and secrets from the configuration of Devo's collector (YAML, or JSON of the hosted form)", Args: takes(1),
		RunE: func(_ *cobra.Command, args []string) error { return t.migrateDevo(m, args[0]) },
	}
	f := devo.Flags()
	f.StringVar(&m.out, "out", ".", "folder for .env and secrets/")
	f.StringVar(&m.form, "for", formProcess, "process: certificates stay where they are; compose: they are copied to secrets/devo, as docker-compose.yml wants")
	f.StringVar(&m.input, "input", "", "name of the input, if it is not proofpoint_tap or there are several")
	f.BoolVar(&m.print, "print", false, "print .env, without secrets, and write nothing")
	f.BoolVar(&m.force, "force", false, "replace files that are there")
	cmd.AddCommand(devo)
	return cmd
}

func (t *tool) migrateDevo(m *migration, path string) error {
	if m.form != formProcess && m.form != formCompose {
		return config.Invalid("--for", m.form, "want process or compose")
	}
	data, err := readConfig(path)
	if err != nil {
		return config.Invalid("CONFIG", path, "cannot be read: "+err.Error())
	}
	if m.Migration, err = devoconf.Parse(data, devoconf.Options{Name: path, Input: m.input, Now: time.Now().UTC()}); err != nil {
		return err
	}
	if err := m.plan(); err != nil {
		return err
	}
	if m.print {
		return t.print(m.Migration, func(w io.Writer) {
			lines(w, string(m.files[len(m.files)-1].data))
			printNotes(w, m.Notes)
		})
	}
	if err := m.free(); err != nil {
		return err
	}
	closed, err := m.close()
	if err != nil {
		return err
	}
	written := []string{}
	for _, f := range m.files {
		if err := f.write(); err != nil {
			return err
		}
		written = append(written, f.path)
	}
	answer := struct {
		Written []string `json:"written"`
		*devoconf.Migration
	}{written, m.Migration}
	return t.print(answer, func(w io.Writer) {
		if closed != "" {
			printf(w, "closed %s to other users of this host\n", closed)
		}
		for _, path := range written {
			printf(w, "wrote %s\n", path)
		}
		printNotes(w, m.Notes)
		printf(w, "next: look at %s, then tapctl check; docs/migrate.md says how to run both collectors side by side\n", filepath.Join(m.out, ".env"))
	})
}

// readConfig reads no more than a configuration may have and one byte, so that a larger one is
// refused.
func readConfig(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 1<<20+1))
}

// plan decides which files are written. Secrets come first: a crash in between leaves no .env that
// names what is not there.
func (m *migration) plan() error {
	secret := filepath.Join(m.out, "secrets", "tap_secret")
	mode := fs.FileMode(0o600)
	if m.form == formCompose { // the user of the containers reads them; the folder keeps others of this host out
		mode = 0o644
	}
	m.files = append(m.files, planned{secret, []byte(m.Secret.Reveal() + "\n"), mode})
	switch m.form {
	case formCompose:
		for _, c := range m.Certificates {
			if err := m.copy(c, mode); err != nil {
				return err
			}
		}
	default:
		var err error
		if secret, err = filepath.Abs(secret); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		m.Env = append(m.Env, devoconf.Setting{Name: "TAP_SECRET_FILE", Value: secret})
		for _, c := range m.Certificates {
			if c.Path, err = filepath.Abs(c.Path); err != nil {
				return fmt.Errorf("migrate: %w", err)
			}
			if _, err := os.Stat(c.Path); err != nil {
				m.Notes = append(m.Notes, devoconf.Note{Key: c.Variable, Text: "names a file that is not there: " + c.Path})
			}
			m.Env = append(m.Env, devoconf.Setting{Name: c.Variable, Value: c.Path})
		}
	}
	env, err := m.env()
	if err != nil {
		return err
	}
	m.files = append(m.files, planned{filepath.Join(m.out, ".env"), env, 0o644})
	return nil
}

// copy plans the copy of a certificate for compose.
func (m *migration) copy(c devoconf.Certificate, mode fs.FileMode) error {
	name := map[string]string{"DEVO_CHAIN_FILE": "chain.crt", "DEVO_CERT_FILE": "domain.crt", "DEVO_KEY_FILE": "domain.key"}[c.Variable]
	data, err := readConfig(c.Path) // a certificate has some thousand bytes
	if err == nil && len(data) > 1<<20 {
		return config.Invalid(c.Variable, c.Path, "is larger than 1 MiB: want a certificate or key in PEM")
	}
	if errors.Is(err, fs.ErrNotExist) {
		m.Notes = append(m.Notes, devoconf.Note{Key: c.Variable, Text: "is not there to be copied: " + c.Path + "; put it into secrets/devo/" + name})
		return nil
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	m.files = append(m.files, planned{filepath.Join(m.out, "secrets", "devo", name), data, mode})
	return nil
}

// env is the text of .env.
func (m *migration) env() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Made by tapctl migrate devo. Every variable of docs/configuration.md may stand here.\n")
	for _, s := range m.Env {
		line, err := s.Line()
		if err != nil {
			return nil, config.Invalid(s.Name, s.Value, err.Error())
		}
		if s.Why != "" {
			fmt.Fprintf(&b, "\n# %s\n", s.Why)
		}
		b.WriteString(line + "\n")
	}
	return b.Bytes(), nil
}

// free refuses to replace anything that says something else.
func (m *migration) free() error {
	if m.force {
		return nil
	}
	var there []string
	for _, f := range m.files {
		have, err := os.ReadFile(f.path)
		if err == nil && len(have) > 0 && !bytes.Equal(have, f.data) {
			there = append(there, f.path)
		}
	}
	if len(there) > 0 {
		return config.Invalid("--out", m.out, "has already "+strings.Join(there, " and ")+": give --force to replace, --print to look, or another folder")
	}
	return nil
}

// close takes the folder of secrets away from other users if it is there already, and names it if
// they could enter it.
func (m *migration) close() (closed string, err error) {
	for _, dir := range []string{filepath.Join(m.out, "secrets"), filepath.Join(m.out, "secrets", "devo")} {
		info, err := os.Lstat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return "", fmt.Errorf("migrate: %w", err)
		case !info.IsDir():
			return "", config.Invalid("--out", m.out, "has "+dir+", which is no folder but a file or a link: secrets would go elsewhere")
		case info.Mode().Perm()&0o077 == 0, closed != "": // what is inside may stay open: containers read it
			continue
		}
		if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder
			return "", config.Invalid("--out", m.out, dir+" is open to other users and cannot be closed: "+err.Error())
		}
		closed = dir
	}
	return closed, nil
}

// write makes the file under another name first: no reader sees half of it, or a secret with the
// rights of an old file.
func (f planned) write() error {
	dir := filepath.Dir(f.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	tmp, err := os.CreateTemp(dir, ".tapctl-*")
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	_, err = tmp.Write(f.data)
	err = errors.Join(err, tmp.Chmod(f.mode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), f.path)
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}

func printNotes(w io.Writer, notes []devoconf.Note) {
	if len(notes) > 0 {
		printf(w, "\nwithout an equivalent, or with another meaning:\n")
	}
	for _, n := range notes {
		where := ""
		if n.Line > 0 {
			where = fmt.Sprintf("line %d: ", n.Line)
		}
		printf(w, "  %s%s %s\n", where, n.Key, n.Text)
	}
}
