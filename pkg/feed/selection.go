package feed

import (
	"errors"
	"slices"
	"strings"

	"github.com/tapline/tapline/pkg/config"
)

// Selection says what is collected.
type Selection struct {
	Names             []Feed `env:"TAP_FEEDS" envDefault:"clicksBlocked,clicksPermitted,messagesBlocked,messagesDelivered,threats,campaigns,people_topclicks,people_vap" usage:"feeds to collect, separated by commas"`
	Forensics         bool   `env:"TAP_FORENSICS" envDefault:"false" usage:"collect forensic reports of threats and campaigns, too"`
	CampaignForensics bool   `env:"TAP_CAMPAIGN_FORENSICS" envDefault:"false" usage:"with TAP_FORENSICS: of a threat that belongs to a campaign, collect the report of the campaign instead of its own"`
}

// Has reports whether a feed is collected.
func (s Selection) Has(f Feed) bool { return slices.Contains(s.Names, f) }

// Validate refuses what cannot be collected.
func (s Selection) Validate() error {
	var problems []error
	if len(s.Names) == 0 {
		problems = append(problems, config.Invalid("TAP_FEEDS", "", "want one feed at least"))
	}
	if s.Has(Threats) && !slices.ContainsFunc(s.Names, Feed.IsSIEM) {
		problems = append(problems, config.Invalid("TAP_FEEDS", strings.Join(Names(s.Names), ","),
			"threats are found in clicks and messages: add one of "+strings.Join(Names(SIEM()), ", ")))
	}
	if s.CampaignForensics && !s.Forensics {
		problems = append(problems, config.Invalid("TAP_CAMPAIGN_FORENSICS", "true", "want TAP_FORENSICS=true, too"))
	}
	return errors.Join(problems...)
}
