package tapctl

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/authority"
	"github.com/tapline/tapline/pkg/config"
)

// certs makes the certificates of the NATS servers.
func (t *tool) certs() *cobra.Command {
	var folder authority.Folder
	cmd := &cobra.Command{
		Use: "certs", Short: "Make the certificates of the NATS servers where they are missing, or renew what ends within 30 days", Args: takes(0),
		RunE: func(*cobra.Command, []string) error { return t.makeCerts(folder, authority.Folder.Make) },
	}
	cmd.PersistentFlags().StringVar(&folder.Dir, "dir", "secrets/nats", "folder of the certificates")
	cmd.PersistentFlags().StringSliceVar(&folder.Names, "name", nil, "DNS name or address of a server, besides those of compose and Kubernetes; may be given more than once")
	cmd.AddCommand(&cobra.Command{
		Use: "rotate server|authority", Args: cobra.ArbitraryArgs,
		Short: "Give the servers another certificate, or add another authority: clients must know it before it signs",
		RunE: func(_ *cobra.Command, args []string) error {
			switch what := strings.Join(args, " "); what {
			case "server":
				return t.makeCerts(folder, authority.Folder.RenewServer)
			case "authority":
				return t.makeCerts(folder, authority.Folder.RenewAuthority)
			default:
				return config.Invalid("command line", what, "want rotate server or rotate authority")
			}
		},
	})
	return cmd
}

// certsView is what the command prints.
type certsView struct {
	Dir           string    `json:"dir"`
	NewAuthority  bool      `json:"new_authority"`
	NewServer     bool      `json:"new_server"`
	AuthorityEnds time.Time `json:"authority_ends,omitzero"`
	ServerEnds    time.Time `json:"server_ends,omitzero"`
	Hosts         []string  `json:"hosts,omitempty"`
}

func (t *tool) makeCerts(folder authority.Folder, make func(authority.Folder) (authority.Report, error)) error {
	folder.Now = t.Now()
	r, err := make(folder)
	if err != nil {
		return err
	}
	v := certsView{folder.Dir, r.Authority, r.Server, r.AuthorityEnds, r.ServerEnds, r.Hosts}
	return t.print(v, func(w io.Writer) {
		if v.ServerEnds.IsZero() {
			printf(w, "%s has certificates of an authority that is kept elsewhere: left alone\n", v.Dir)
			return
		}
		printf(w, "%s\tends\n", v.Dir)
		printf(w, "ca/ca.crt\t%s%s\n", v.AuthorityEnds.UTC().Format(time.DateOnly), isNew(v.NewAuthority))
		printf(w, "tls/server.pem\t%s%s\n", v.ServerEnds.UTC().Format(time.DateOnly), isNew(v.NewServer))
	})
}

func isNew(made bool) string {
	if made {
		return "\tnew"
	}
	return ""
}
