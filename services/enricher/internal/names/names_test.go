package names_test

import (
	"slices"
	"testing"

	"github.com/tapline/tapline/pkg/alloctest"
	"github.com/tapline/tapline/services/enricher/internal/names"
)

func TestNamesOfRecords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]names.Record{
		`{"threatID":"t1","threatStatus":"active","campaignId":"c1","recipient":"a@corp.example"}`: {
			Threats: []names.Threat{{ID: "t1", Status: "active", Campaign: "c1"}}, Recipients: []string{"a@corp.example"},
		},
		// As Proofpoint's documents spell it, and as the live service does.
		`{"threatsInfoMap":[{"threatId":"t1","campaignId":"c1"},{"threatID":"t2","campaignID":null,"threatStatus":"cleared"}],"recipient":["a","b"]}`: {
			Threats: []names.Threat{{ID: "t1", Campaign: "c1"}, {ID: "t2", Status: "cleared"}}, Recipients: []string{"a", "b"},
		},
		// Shapes without a promise.
		`{"threatsInfoMap":{"threatID":"t1"},"recipient":[1,null,"b",["c"]]}`:                        {Threats: []names.Threat{{ID: "t1"}}, Recipients: []string{"b"}},
		`{"threatsInfoMap":["x",{"threatID":7},{"other":{"threatID":"no"}}],"threatID":{"id":"no"}}`: {},
		`{"threatsInfoMap":null}`: {},
		`{}`:                      {},
		`[{"threatID":"no"}]`:     {},
	} {
		got, err := names.In([]byte(text))
		if err != nil || !slices.Equal(got.Threats, want.Threats) || !slices.Equal(got.Recipients, want.Recipients) {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	if _, err := names.In([]byte(`{"threatID":`)); err == nil {
		t.Error("half a record is no error")
	}
}

func TestMembersAndEmails(t *testing.T) {
	t.Parallel()
	ids, err := names.Members([]byte(`{"id":"c","actors":[{"id":"no"}],"campaignMembers":[{"id":"t1","threat":"x"},{"threat":"no id"},7,{"id":"t2"}]}`))
	if err != nil || !slices.Equal(ids, []string{"t1", "t2"}) {
		t.Errorf("%q, %v", ids, err)
	}
	emails, err := names.Emails([]byte(`{"identity":{"guid":"g","emails":["a@corp.example",null,"b@corp.example"]},"emails":["no"]}`))
	if err != nil || !slices.Equal(emails, []string{"a@corp.example", "b@corp.example"}) {
		t.Errorf("%q, %v", emails, err)
	}
}

func FuzzNames(f *testing.F) {
	f.Add([]byte(`{"threatsInfoMap":[{"threatID":"t1","campaignID":"c"}],"recipient":["a"]}`))
	f.Add([]byte(`{"identity":{"emails":["a"]},"campaignMembers":[{"id":"t"}]}`))
	f.Add([]byte(`[[[{"threatID":`))
	f.Add([]byte(`{"identity":{"guid":"g","emails":"a"`)) // one address that is no list; ends early
	f.Add([]byte(`{"identity":{"emails":[x]}}`))          // an address that is no JSON
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := names.In(text)
		for _, threat := range r.Threats {
			if err == nil && threat.ID == "" {
				t.Fatalf("a threat without an id in %q", text)
			}
		}
		alloctest.Linear(t, len(text), 64, 1<<20, func() {
			_, _ = names.In(text)
			_, _ = names.Members(text)
			_, _ = names.Emails(text)
		})
	})
}

func BenchmarkIn(b *testing.B) {
	record := []byte(`{"spamScore":100,"phishScore":0,"threatsInfoMap":[{"threatID":"945bd475668ecf49562d1934cf135f46a854946a6de13bb1134b6cfe0e84265d","threatStatus":"active","classification":"malware","threatTime":"2026-03-11T09:10:02.000Z","campaignID":"0d9f4b8a-6c1e-4b0b-8c2f-71d3c5a9e604","actors":[],"threatType":"attachment"}],"messageTime":"2026-03-11T09:11:48.000Z","subject":"Remittance advice 55120","policyRoutes":["default_inbound"],"modulesRun":["av","spf","dkimv"],"messageSize":148213,"toAddresses":["ap@corp.example"],"messageParts":[{"disposition":"attached","sha256":"945b","md5":null,"filename":"remittance.xlsm"}],"id":"c9b5f7c2-0e83-4c57-b1a4-6f2d90e3ab15","GUID":"tR3nVq9","recipient":["ap@corp.example"]}`)
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := names.In(record); err != nil {
			b.Fatal(err)
		}
	}
}
