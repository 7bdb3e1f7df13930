package shipper_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/shipper"
)

// fileOf finds the value of a variable.
func fileOf(environ []string, name string) string {
	for _, e := range environ {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCertificatesAreReplacedWithoutARestart: files that cannot be used are reported and change
// nothing; good ones are taken by the next connection, which is made at once.
func TestCertificatesAreReplacedWithoutARestart(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	sink, environ := endpoint(t, devosink.Count)
	start(t, b, nil, environ)
	bucket, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	raised := func() string {
		alarms, err := alarm.Read(t.Context(), bucket, "main", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range alarms {
			if a.GetName() == string(alarm.Certificate) {
				return a.GetDetail()
			}
		}
		return ""
	}
	fill(t, b, 0, 1, 10)
	poll(t, "the first rows", func() bool { return sink.Snapshot().Events == 10 })

	key := fileOf(environ, "DEVO_KEY_FILE")
	good, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, key, []byte("half a fi"))
	poll(t, "an alarm about files that are not in use", func() bool { return strings.Contains(raised(), "changed files are not in use: DEVO_KEY_FILE=") })
	fill(t, b, 10, 1, 10)
	poll(t, "rows over the old certificate", func() bool { return sink.Snapshot().Events == 20 })

	before := sink.Snapshot().Connections
	write(t, key, good)
	poll(t, "the end of the alarm", func() bool { return raised() == "" })
	n := 20
	poll(t, "new connections", func() bool { // each worker makes one when it has had something to do
		fill(t, b, n, 1, 1)
		n++
		return sink.Snapshot().Connections > before
	})
	poll(t, "all rows", func() bool { return sink.Snapshot().Events >= int64(n) })
}

func TestACertificateThatEndsSoonIsAnAlarm(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	_, environ := endpoint(t, devosink.Count)
	start(t, b, nil, append(environ, "ALARM_CERTIFICATE=100000h"))
	bucket, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	poll(t, "the alarm", func() bool {
		alarms, err := alarm.Read(t.Context(), bucket, "main", time.Now())
		return err == nil && len(alarms) == 1 && strings.Contains(alarms[0].GetDetail(), "renew it in Devo")
	})
}

func TestUselessKeysAreRefused(t *testing.T) {
	t.Parallel()
	_, environ := endpoint(t, devosink.Count)
	write(t, fileOf(environ, "DEVO_KEY_FILE"), []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIF\n-----END ENCRYPTED PRIVATE KEY-----\n"))
	var c shipper.Config
	if err := config.Load(&c, environ); err == nil || !strings.Contains(err.Error(), "is encrypted, and a service cannot ask for the password") {
		t.Errorf("an encrypted key: %v", err)
	}
	good, bundle := fileOf(environ, "DEVO_CERT_FILE"), []byte{0x30, 0x82, 0x0a}
	write(t, fileOf(environ, "DEVO_KEY_FILE"), bundle)
	if err := config.Load(&c, environ); err == nil || !strings.Contains(err.Error(), "DEVO_KEY_FILE") || !strings.Contains(err.Error(), "of a PKCS#12 file make two") {
		t.Errorf("PKCS#12 as a key: %v", err)
	}
	write(t, good, bundle)
	if err := config.Load(&c, environ); err == nil || !strings.Contains(err.Error(), "DEVO_CERT_FILE") || !strings.Contains(err.Error(), "of a PKCS#12 file make two") {
		t.Errorf("PKCS#12 as a certificate: %v", err)
	}
}
