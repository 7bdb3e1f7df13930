package fetcher

import (
	"context"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

// Check proves the credential at an endpoint without a limit, and says what it
// found. The caller counts the call.
func Check(ctx context.Context, c API) (string, error) {
	client, err := proofpoint.New(c.client())
	if err != nil {
		return "", err
	}
	defer client.Close()
	r, err := client.Check(ctx)
	if err != nil {
		return "", err
	}
	skew := time.Duration(0)
	if !r.ServerTime.IsZero() {
		skew = r.Skew.Truncate(time.Second)
	}
	return fmt.Sprintf("%s takes the credential; the local clock is %s ahead", c.URL, skew), nil
}

func (a API) client() proofpoint.Config {
	return proofpoint.Config{
		URL: a.URL, Principal: a.Principal, Secret: a.Secret, Timeout: a.Timeout,
		IdleTimeout: a.IdleTimeout, UserAgent: "tapline/" + program.Version(), Proxy: a.Proxy,
	}
}
