package tapsim

import (
	"errors"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/config"
)

// Config of a simulator. The zero value of each field is usable.
type Config struct {
	Seed      uint64        `env:"TAPSIM_SEED" envDefault:"1" usage:"same seed, same records"`
	Rate      float64       `env:"TAPSIM_RATE" envDefault:"20" usage:"records created in a second of the simulator's clock, over all feeds"`
	Factor    float64       `env:"TAPSIM_FACTOR" envDefault:"1" usage:"how many seconds the simulator's clock makes in a real second"`
	Age       time.Duration `env:"TAPSIM_AGE" envDefault:"168h" usage:"how long before the start the first record was created"`
	Principal string        `env:"TAPSIM_PRINCIPAL" envDefault:"demo" usage:"principal that is let in"`
	Secret    config.Secret `env:"TAPSIM_SECRET" envDefault:"demo" usage:"its secret"`

	IndexLag     time.Duration `env:"TAPSIM_INDEX_LAG" envDefault:"5s" usage:"longest usual time from a record's creation until it is visible"`
	LateFraction float64       `env:"TAPSIM_LATE_FRACTION" envDefault:"0" usage:"share of records that are visible late (0 to 1)"`
	LateLag      time.Duration `env:"TAPSIM_LATE_LAG" envDefault:"30m" usage:"longest time until a late record is visible"`

	RevisedFraction float64       `env:"TAPSIM_REVISIONS" envDefault:"0" usage:"share of records whose campaign becomes known later"`
	RevisionLag     time.Duration `env:"TAPSIM_REVISION_LAG" envDefault:"30m" usage:"longest time from visible until it does"`

	Threats   int  `env:"TAPSIM_THREATS" envDefault:"12" usage:"threats identified in an hour"`
	Campaigns int  `env:"TAPSIM_CAMPAIGNS" envDefault:"8" usage:"campaigns begun in a day; half of the threats belong to one"`
	People    int  `env:"TAPSIM_PEOPLE" envDefault:"40" usage:"people in each list of people that covers 14 days; longer ones have more"`
	Evidence  int  `env:"TAPSIM_EVIDENCE" envDefault:"12" usage:"pieces of evidence in a forensic report, at most"`
	Empty404  bool `env:"TAPSIM_EMPTY_404" envDefault:"true" usage:"answer 404 when there are no campaigns, and not an empty list"`

	Empty204    bool          `env:"TAPSIM_EMPTY_204" envDefault:"false" usage:"answer 204 without a body when a SIEM window has no records"`
	EndSpelling string        `env:"TAPSIM_END_SPELLING" envDefault:"Z" usage:"how queryEndTime ends: Z, .000Z, +00:00 or .000+00:00"`
	MinSpan     time.Duration `env:"TAPSIM_MIN_SPAN" envDefault:"30s" usage:"shortest SIEM window that is served"`
	MaxSpan     time.Duration `env:"TAPSIM_MAX_SPAN" envDefault:"1h" usage:"longest SIEM window that is served"`
	HeadLag     time.Duration `env:"TAPSIM_HEAD_LAG" envDefault:"0s" usage:"a SIEM window that ends within this time of the present is still current"`

	LimitCampaignIDs       int `env:"TAPSIM_LIMIT_CAMPAIGN_IDS" envDefault:"50" usage:"calls in 24 hours, list of campaigns"`
	LimitPeople            int `env:"TAPSIM_LIMIT_PEOPLE" envDefault:"50" usage:"calls in 24 hours, of each of the two lists of people"`
	LimitForensicsThreat   int `env:"TAPSIM_LIMIT_FORENSICS_THREAT" envDefault:"50" usage:"calls in 24 hours, forensics of threats"`
	LimitForensicsCampaign int `env:"TAPSIM_LIMIT_FORENSICS_CAMPAIGN" envDefault:"1800" usage:"calls in 24 hours, forensics of campaigns"`

	LimitSIEM      int  `env:"TAPSIM_LIMIT_SIEM" envDefault:"1800" usage:"calls in 24 hours, all SIEM endpoints but permitted clicks"`
	LimitPermitted int  `env:"TAPSIM_LIMIT_PERMITTED" envDefault:"1800" usage:"calls in 24 hours, permitted clicks"`
	CountFailed    bool `env:"TAPSIM_COUNT_FAILED" envDefault:"false" usage:"whether refused calls use up the limit, too"`
	RetryAfter     bool `env:"TAPSIM_RETRY_AFTER" envDefault:"false" usage:"send Retry-After with status 429"`

	StubFraction      float64 `env:"TAPSIM_STUBS" envDefault:"0.02" usage:"share of message records with nearly everything null"`
	NoIDFraction      float64 `env:"TAPSIM_NO_ID" envDefault:"0.03" usage:"share of message records without an id"`
	OddFraction       float64 `env:"TAPSIM_ODD" envDefault:"0.05" usage:"share of records with odd shapes, unknown keys and long numbers"`
	RetroFraction     float64 `env:"TAPSIM_RETRO" envDefault:"0.05" usage:"share of records about a message or click of days ago"`
	MalformedFraction float64 `env:"TAPSIM_MALFORMED" envDefault:"0" usage:"share of records that are not valid JSON"`
	InclusiveEnd      bool    `env:"TAPSIM_INCLUSIVE_END" envDefault:"false" usage:"whether a window selects its end, too"`

	// Clock is the real clock; nil means time.Now.
	Clock func() time.Time
}

// Default is the configuration of the program without any variables set.
func Default() Config {
	var c Config
	if err := config.Load(&c, nil); err != nil { // the defaults above are constants
		panic(err)
	}
	return c
}

// endLayouts are the spellings of queryEndTime.
var endLayouts = map[string]string{
	"": "2006-01-02T15:04:05Z", "Z": "2006-01-02T15:04:05Z", ".000Z": "2006-01-02T15:04:05.000Z",
	"+00:00": "2006-01-02T15:04:05-07:00", ".000+00:00": "2006-01-02T15:04:05.000-07:00",
}

func (c Config) endLayout() string { return endLayouts[c.EndSpelling] }

// Validate checks the ranges.
func (c Config) Validate() error {
	var problems []error
	check := func(ok bool, name string, value any, want string) {
		if !ok {
			problems = append(problems, config.Invalid(name, fmt.Sprint(value), want))
		}
	}
	check(c.Rate >= 0 && c.Rate <= 1e6, "TAPSIM_RATE", c.Rate, "want 0 to 1000000")
	check(c.Factor > 0 && c.Factor <= 1e6, "TAPSIM_FACTOR", c.Factor, "want more than 0, at most 1000000")
	check(c.Age >= 0, "TAPSIM_AGE", c.Age, "want 0s or more")
	check(c.IndexLag >= 0, "TAPSIM_INDEX_LAG", c.IndexLag, "want 0s or more")
	check(c.LateLag >= 0, "TAPSIM_LATE_LAG", c.LateLag, "want 0s or more")
	check(c.RevisionLag >= 0, "TAPSIM_REVISION_LAG", c.RevisionLag, "want 0s or more")
	check(endLayouts[c.EndSpelling] != "", "TAPSIM_END_SPELLING", c.EndSpelling, "want Z, .000Z, +00:00 or .000+00:00")
	check(c.MinSpan >= 0, "TAPSIM_MIN_SPAN", c.MinSpan, "want 0s or more")
	check(c.MaxSpan == 0 || c.MaxSpan >= c.MinSpan, "TAPSIM_MAX_SPAN", c.MaxSpan, "want TAPSIM_MIN_SPAN or more")
	check(c.HeadLag >= 0, "TAPSIM_HEAD_LAG", c.HeadLag, "want 0s or more")
	check(c.Threats >= 1 && c.Threats <= 1<<16, "TAPSIM_THREATS", c.Threats, "want 1 to 65536")
	check(c.Campaigns >= 1 && c.Campaigns <= 1<<16, "TAPSIM_CAMPAIGNS", c.Campaigns, "want 1 to 65536")
	check(c.People >= 0 && c.People <= 1e6, "TAPSIM_PEOPLE", c.People, "want 0 to 1000000")
	check(c.Evidence >= 0 && c.Evidence <= 1e5, "TAPSIM_EVIDENCE", c.Evidence, "want 0 to 100000")
	for name, share := range map[string]float64{
		"TAPSIM_LATE_FRACTION": c.LateFraction, "TAPSIM_REVISIONS": c.RevisedFraction, "TAPSIM_STUBS": c.StubFraction, "TAPSIM_NO_ID": c.NoIDFraction,
		"TAPSIM_ODD": c.OddFraction, "TAPSIM_RETRO": c.RetroFraction, "TAPSIM_MALFORMED": c.MalformedFraction,
	} {
		check(share >= 0 && share <= 1, name, share, "want 0 to 1")
	}
	return errors.Join(problems...)
}
