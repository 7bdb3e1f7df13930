package tapctl

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/flatten"
	"github.com/tapline/tapline/pkg/jsonline"
	"github.com/tapline/tapline/pkg/printable"
)

// flatten shows the rows that a response becomes. It needs nothing but the file.
func (t *tool) flatten() *cobra.Command {
	members := false
	cmd := &cobra.Command{
		Use: "flatten FILE", Short: "Print the rows that a response in a file (or - for standard input) becomes, one a line", Args: takes(1),
		Long: `Print the rows that a response of Proofpoint becomes, one a line: a forensic
report by its evidence, a list of people by its users, a response with records of clicks and
messages by these, and anything else as it is. The keys that begin with @ are missing here.`,
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := read(args[0])
			if err != nil {
				return config.Invalid("FILE", args[0], err.Error())
			}
			if err := t.rows(text, members); err != nil {
				return config.Invalid("FILE", args[0], err.Error())
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&members, "campaign-members", false, "make a row of each member of a campaign, as FLATTEN_CAMPAIGNS=on does")
	return cmd
}

// maxResponse bounds what is read, bytes: no response of Proofpoint comes near it.
const maxResponse = 1 << 30

func read(name string) ([]byte, error) {
	f := os.Stdin
	if name != "-" {
		var err error
		if f, err = os.Open(name); err != nil { //nolint:gosec // the caller names the file, and wants it read
			return nil, err
		}
		defer f.Close()
	}
	text, err := io.ReadAll(io.LimitReader(f, maxResponse+1))
	if err == nil && len(text) > maxResponse {
		err = errLongResponse
	}
	return text, err
}

var errLongResponse = errors.New("has more than 1 GiB: want one response of Proofpoint")

func (t *tool) rows(text []byte, members bool) error {
	own, err := flatten.Members(text)
	if err != nil {
		return err
	}
	has := func(key string) bool {
		return slices.ContainsFunc(own, func(m flatten.Member) bool { return string(m.Name) == `"`+key+`"` })
	}
	out := printable.OnTerminal(printable.Raw(t.Stdout)) // a file gets rows as they are
	line := func(row []byte) { lines(out, string(append(jsonline.Append(nil, row), '\n'))) }
	emit := func(_ int, r flatten.Row) error {
		if r.Err != nil {
			return fmt.Errorf("row %d: %w", r.Index, r.Err)
		}
		line(r.JSON)
		return nil
	}
	switch {
	case has("reports"):
		return flatten.Options{}.Report(text, emit)
	case has("campaignMembers") && members:
		return flatten.Options{}.Each(text, "campaignMembers", nil, func(r flatten.Row) error { return emit(0, r) })
	}
	arrays := 0
	for _, key := range []string{"users", "clicksBlocked", "clicksPermitted", "messagesBlocked", "messagesDelivered"} {
		if !has(key) {
			continue
		}
		arrays++
		if err := eachOf(own, key, line); err != nil {
			return err
		}
	}
	if arrays == 0 {
		line(text)
	}
	return nil
}

// eachOf prints the elements of one array of a response; users with the other members around them.
func eachOf(own []flatten.Member, key string, line func([]byte)) error {
	var outer []flatten.Member
	var array []byte
	for _, m := range own {
		switch {
		case string(m.Name) == `"`+key+`"`:
			array = m.Value
		case key == "users":
			outer = append(outer, m)
		}
	}
	elements, err := flatten.Elements(array)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	for _, e := range elements {
		row, err := flatten.Around(nil, e, outer)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		line(row)
	}
	return nil
}
