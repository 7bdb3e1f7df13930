package bound_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/services/fetcher/internal/bound"
)

// TestTheTableIsTrue: docs/configuration.md says what the bounds are.
func TestTheTableIsTrue(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for row, most := range map[string]string{
		"bytes of a body, as it arrives and decompressed":                                        fmt.Sprintf("%d MiB", bound.Body>>20),
		fmt.Sprintf("bytes that one compressed byte becomes, beyond %d MiB", bound.Unpacked>>20): fmt.Sprint(bound.Expansion),
		"records in an answer":                         grouped(bound.Records),
		"time from the headers to the end of the body": fmt.Sprintf("%d min", bound.Time/time.Minute),
		fmt.Sprintf("time in which %d KiB of the body has to arrive", bound.Progress>>10): "`TAP_IDLE_TIMEOUT`",
		"members of the outer object":                             fmt.Sprint(bound.Members),
		"bytes of the headers":                                    fmt.Sprintf("%d KiB", bound.Headers>>10),
		"bytes of a key beside the arrays":                        fmt.Sprintf("%d KiB", bound.Key>>10),
		"bytes of a record, or of an answer about one id":         fmt.Sprintf("%d MiB | the record goes to DEAD in pieces, %d at most", bound.Record>>20, bound.Pieces+1),
		"nesting of a record":                                     grouped(bound.Depth) + " levels",
		"dead letters that the entries of one answer make":        fmt.Sprintf("%d, or %d MiB", bound.Letters, bound.LetterBytes>>20),
		"distance of a record's time from its window":             fmt.Sprintf("%d days before, %d day after", bound.Before/(24*time.Hour), bound.After/(24*time.Hour)),
		"what is remembered of one feed and hour":                 "2,000,000 records",
		"what is quoted in a log line, an alarm or a dead letter": fmt.Sprintf("%d bytes", bound.Words),
	} {
		if line := "| " + row + " | " + most + " |"; !strings.Contains(string(page), line) {
			t.Errorf("docs/configuration.md does not have: %s", line)
		}
	}
}

func grouped(n int) string { return fmt.Sprintf("%d,%03d", n/1000, n%1000) }
