package shipper

import (
	"context"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
)

// certificateEvery is how often the certificate is looked at.
const certificateEvery = 2 * time.Second

// watchCertificate reports how long the certificate holds, and when it should be renewed.
func (s *Shipper) watchCertificate(ctx context.Context) {
	ticker := time.NewTicker(certificateEvery)
	defer ticker.Stop()
	for {
		until, problem := s.sink.expiry()
		left := time.Until(until)
		s.metrics.certificate.Set(left.Seconds())
		switch {
		case problem != nil:
			s.alarms.Raise(ctx, alarm.Certificate, "changed files are not in use: "+problem.Error())
		default:
			s.alarms.Set(ctx, alarm.Certificate, left < s.cfg.Renew,
				fmt.Sprintf("the certificate in DEVO_CERT_FILE ends on %s: renew it in Devo", until.UTC().Format(time.RFC3339)))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
